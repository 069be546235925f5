"""A chat with a base model: no template and no token that ends a turn, so the plain fallback and its stop string."""

from __future__ import annotations

import pytest

from tests.contract.servers import Inside


@pytest.mark.needs("chat")
def test_a_base_models_answer_ends_where_the_fallback_says(inside: Inside, monkeypatch):
    monkeypatch.setattr(inside.engine.tokenizer, "chat_template", None)

    def answer(ends: tuple[str, ...], stop: str | None = None) -> tuple[str, str]:
        monkeypatch.setattr("common.tokenizer.FALLBACK_STOP", ends)
        body = inside.chat("Tell me a story.", max_tokens=24, ignore_eos=True, stop=stop).json()
        return body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"]

    whole, reason = answer(())
    assert reason == "length"
    later, sooner = whole[len(whole) // 2 :][:4], whole[len(whole) // 4 :][:4]
    assert answer((later,)) == (whole[: whole.index(later)], "stop")
    assert answer((later,), stop=sooner) == (whole[: whole.index(sooner)], "stop")
