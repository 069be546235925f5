"""Attention in several ways: which one runs is shown, and an unknown one is refused."""

from __future__ import annotations

import pytest

from common.errors import UserError
from tests.contract.servers import Process
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("attention_backends")


def test_health_says_what_computes_attention(server: Process):
    """`auto` is not an answer: what was chosen is shown."""
    shown = server.http.get("/health").json()["attention"]
    assert shown
    assert "auto" not in shown


def test_an_unknown_way_is_refused_by_name(subject: Subject):
    with pytest.raises(UserError, match="attention.*'fastest'.*eager"):
        subject.engine.EngineConfig(attention="fastest")
