"""The official `openai` client, unmodified but for its base URL."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Inside, Process, Server, until

pytestmark = pytest.mark.needs("http")
PROMPT = "Once upon a time"
MESSAGES: list[Any] = [{"role": "user", "content": "Tell me a story."}]


def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def fields(server: Server, count: int) -> dict[str, Any]:
    return {"model": server.model, "max_tokens": count, "temperature": 0, "extra_body": {"ignore_eos": True}}


def test_a_completion(server: Process, checkpoint: Checkpoint):
    done = client(server).completions.create(prompt=PROMPT, **fields(server, 12))
    assert done.choices[0].text == checkpoint.greedy_text(PROMPT, 12)
    assert done.usage
    assert done.usage.completion_tokens == 12


@pytest.mark.needs("chat")
def test_a_chat_whose_answer_is_sent_back(server: Process):
    first = client(server).chat.completions.create(messages=MESSAGES, **fields(server, 8))
    answer = first.choices[0].message
    for again in (answer, answer.model_dump()):
        talk = [*MESSAGES, again, {"role": "user", "content": "And then?"}]
        second = client(server).chat.completions.create(messages=talk, **fields(server, 8))
        assert second.usage
        assert first.usage
        assert second.usage.prompt_tokens > first.usage.prompt_tokens


@pytest.mark.needs("chat", "streaming")
def test_streams_of_both_kinds(server: Process, checkpoint: Checkpoint):
    c = client(server)
    text = "".join(
        chunk.choices[0].text
        for chunk in c.completions.create(prompt=PROMPT, stream=True, **fields(server, 12))
    )
    assert text == checkpoint.greedy_text(PROMPT, 12)
    whole = c.chat.completions.create(messages=MESSAGES, **fields(server, 12)).choices[0].message.content
    options: Any = {"include_usage": True}
    chunks = list(
        c.chat.completions.create(
            messages=MESSAGES, stream=True, stream_options=options, **fields(server, 12)
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 12


@pytest.mark.needs("chat", "streaming")
def test_the_async_client_several_at_once(server: Process, checkpoint: Checkpoint):
    async def talk() -> tuple[list[str], str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as c:
            jobs = [c.completions.create(prompt=PROMPT, **fields(server, n)) for n in (3, 6, 9)]
            texts = [done.choices[0].text for done in await asyncio.gather(*jobs)]
            stream = await c.chat.completions.create(messages=MESSAGES, stream=True, **fields(server, 9))
            return texts, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    texts, streamed = asyncio.run(talk())
    assert texts == [checkpoint.greedy_text(PROMPT, n) for n in (3, 6, 9)]
    tokens = checkpoint.tokenizer.encode_chat(MESSAGES)
    assert streamed == checkpoint.tokenizer.decode(checkpoint.greedy(tokens, 9))


@pytest.mark.needs("streaming", "cancel")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_closed_half_way_frees_the_engine(inside: Inside, kind: str):
    async def leave() -> None:
        async with openai.AsyncOpenAI(base_url=f"{inside.url}/v1", api_key="none", max_retries=0) as c:
            stream = await c.completions.create(prompt=PROMPT, stream=True, **fields(inside, 900))
            await anext(aiter(stream))
            await stream.close()

    before = inside.gate.passed
    if kind == "async":
        asyncio.run(leave())
    else:
        with client(inside).completions.create(prompt=PROMPT, stream=True, **fields(inside, 900)) as stream:
            next(iter(stream))
    until(inside.idle, "an idle engine")
    assert inside.gate.passed - before < 800


def test_models(server: Process):
    assert [m.id for m in client(server).models.list()] == [server.model]
    assert client(server).models.retrieve(server.model).id == server.model


def test_errors_arrive_as_the_clients_own(server: Process):
    c = client(server)
    with pytest.raises(openai.NotFoundError) as missing:
        c.completions.create(model="gpt-4o", prompt=PROMPT)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        c.completions.create(model=server.model, prompt=PROMPT, max_tokens=-1)
    assert bad.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError) as stream:
        c.chat.completions.create(model=server.model, messages=[], stream=True)
    assert stream.value.param == "messages"
