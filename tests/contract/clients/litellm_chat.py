"""LiteLLM: chat and completion, streamed too, and a prompt too long, which it must recognise."""

from __future__ import annotations

import sys
from typing import Any

import litellm


def main(url: str, model: str) -> None:
    options: Any = {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "none", "num_retries": 0}
    options |= {"temperature": 0, "max_tokens": 8}
    talk: list[Any] = [{"role": "user", "content": "A fox, please."}]
    whole = litellm.completion(messages=talk, **options).choices[0].message
    stream = litellm.completion(messages=talk, stream=True, stream_options={"include_usage": True}, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == whole.content
    # The answer goes back with all that LiteLLM put into it.
    again = [*talk, whole.model_dump(), {"role": "user", "content": "And then?"}]
    assert litellm.completion(messages=again, **options).choices[0].message.content
    options["model"] = f"text-completion-openai/{model}"
    assert litellm.text_completion(prompt="Once", **options).choices[0].text
    try:
        options["model"] = f"openai/{model}"
        litellm.completion(messages=[{"role": "user", "content": "many words " * 3000}], **options)
    except litellm.ContextWindowExceededError:
        pass
    else:
        raise AssertionError("a prompt too long was answered")


main(*sys.argv[1:])
