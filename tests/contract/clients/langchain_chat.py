"""LangChain's ChatOpenAI: whole, streamed, a second turn, and a prompt too long, which it must recognise."""

from __future__ import annotations

import sys
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI


def main(url: str, model: str) -> None:
    options: Any = {
        "base_url": f"{url}/v1",
        "api_key": "none",
        "model": model,
        "max_retries": 0,
        "temperature": 0,
    }
    chat = ChatOpenAI(**options, max_tokens=8, stream_usage=True)
    talk: list[Any] = [SystemMessage("You tell stories."), HumanMessage("A fox, please.")]
    whole = chat.invoke(talk)
    assert whole.usage_metadata["output_tokens"] == 8
    chunks = list(chat.stream(talk))
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    assert chat.invoke([*talk, whole, HumanMessage("And then?")]).content
    raised = ""
    try:
        chat.invoke([HumanMessage("many words " * 3000)])
    except Exception as e:
        raised = type(e).__name__
    assert "ContextOverflow" in raised, raised or "a prompt too long was answered"


main(*sys.argv[1:])
