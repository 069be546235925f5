"""The suite's own data: a misspelt capability would silently leave tests out."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from openai.resources.chat.completions import Completions as Chat
from openai.resources.completions import Completions

from tests.contract.fields import BROUGHT, NOT_IN_BODY, WITHOUT_EFFECT
from tests.contract.subjects import BRINGS, KNOWN, subjects


def test_every_claim_is_one_that_the_suite_knows():
    for subject in subjects():
        assert subject.capabilities <= KNOWN, f"{subject}: unknown {subject.capabilities - KNOWN}"


def test_no_stage_loses_what_a_stage_before_it_brought():
    before: frozenset[str] = frozenset()
    for subject in subjects():
        gone = before - subject.capabilities - {"forward"}
        assert not gone, f"{subject} does not claim {sorted(gone)} any more"
        before = subject.capabilities


def test_a_stage_claims_what_it_brings():
    for subject in subjects():
        missing = set(BRINGS.get(subject.number, ())) - subject.capabilities
        assert not missing, f"{subject} does not claim {sorted(missing)}"


def test_every_field_of_the_official_client_has_its_place_in_a_table():
    ours = {
        "model",
        "prompt",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "stream",
        "stream_options",
    }
    known = ours | set(WITHOUT_EFFECT) | {b.name for b in BROUGHT} | NOT_IN_BODY
    for resource in (Chat, Completions):
        fields = set(inspect.signature(resource.create).parameters)
        assert fields <= known, f"new in the client: {sorted(fields - known)}"


def test_bodies_of_real_clients_name_capabilities_that_exist():
    for entry in json.loads((Path(__file__).parent / "bodies.json").read_text(encoding="utf-8")):
        assert set(entry["needs"]) <= KNOWN
