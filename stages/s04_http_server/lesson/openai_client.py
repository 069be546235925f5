"""The official client, unmodified: only its address is ours. Needs the `openai` package."""

from __future__ import annotations

from collections.abc import Iterator


def ask(url: str, model: str, message: str, max_tokens: int) -> Iterator[str]:
    from openai import OpenAI

    client = OpenAI(base_url=f"{url}/v1", api_key="not needed")
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": message}],
        max_tokens=max_tokens,
        stream=True,
    )
    for chunk in chunks:
        yield chunk.choices[0].delta.content or ""
