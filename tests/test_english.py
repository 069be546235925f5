"""The worst of the patterns that make English sound translated do not come back, in the texts that have been edited.

A word list, not a grammar: each pattern was seen dozens of times and is hardly ever right here. `EDITED` grows with the
texts; `ALLOWED` holds places where the words are meant. Quoted output and the tales' own prompts are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.tutorial import ROOT

EDITED = (
    "README.md",
    "articles/0[0-9]-*.md",
    "articles/glossary.md",
    "articles/symptoms.md",
    "stages/s0[1-9]_*/README.md",
    "stages/s0[1-9]_*/stage.toml",
    "stages/s0[1-9]_*/*.py",
    "stages/s0[1-9]_*/lesson/*.py",
    "stages/s0[1-9]_*/exercises/*.py",
    "stages/s0[1-9]_*/engine/*.py",
    "common/tutorial/**/*.py",
    "common/bench/*.py",
    "common/terminal/*.py",
    "benchmarks/**/*.py",
    "benchmarks/README.md",
    "CONTRIBUTING.md",
    "Makefile",
)
PATTERNS = {
    r"(?:^|[.:;] )Who (?:is|has|comes|waits|asks|stops|hangs|cares|knows|sees)\b[^.?]*\.": "anyone who, or a noun",
    r"\banew\b": "again",
    r"\bdear(?:er|est)?\b": "expensive",
    r"\bpossible are\b": "must be, choose from",
    r"\bfor nobody\b": "wasted",
    r"\b(?:in|for|hope of) company\b": "in a batch, for other requests",
    r"\bbehind (?:a|an|the|its|it|each|every|\d+)\b(?! (?:reverse )?proxy)": "after",
    r"\bso many (?:tokens|keys|texts|percent|requests|bytes)\b": "that many, of each length",
    r"\b(?:numbers|bytes|tokens|rows|matrices) a (?:token|request|layer|step)\b": "per",
    r"\b(?:is|are|was) no (?:list|number|object|rectangle|Python|request|character|text|whole|fault)\b": "is not a",
    r"\b(?:lies?|stands?) (?:in|at|on|behind|beside|side) (?:the|its|a|by|index|slot)\b": "is in",
    r"\bmust (?:know of|mind)\b": "needs to know about, has to handle",
    r"\bshall\b": "will",
}
ALLOWED = ("one engine behind the protocol", "there is a story behind it")


def places(root: Path = ROOT) -> Iterator[tuple[str, str, str]]:
    """(file and line, what is written, what is better)."""
    for path in sorted({path for pattern in EDITED for path in root.glob(pattern)}):
        yield from (
            (f"{path.relative_to(root)}:{line}", found, better)
            for line, found, better in judged(path.read_text(encoding="utf-8"))
        )


def judged(text: str) -> Iterator[tuple[int, str, str]]:
    """The places in one text, by line. A sentence may go over the end of a line, quoted output is left out."""
    # Outputs, and the words of other texts.
    quoted = r"```console\n.*?```|<!-- (?:stages|flags) -->\n(?:\|[^\n]*\n)+"
    text = re.sub(quoted, lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
    flat = re.sub(r"\n[ \t]*", lambda m: " " * len(m.group()), text)
    for pattern, better in PATTERNS.items():
        for match in re.finditer(pattern.replace(" ", r"\s+"), flat):
            around = " ".join(flat[max(0, match.start() - 40) : match.end() + 40].split())
            if not any(allowed in around for allowed in ALLOWED):
                yield text.count("\n", 0, match.start()) + 1, " ".join(match.group().split()), better


@pytest.mark.parametrize(
    "sentence",
    [
        "Who is done leaves at once.",
        "It is read anew each time.",
        "The tokens behind the prompt wait.",
        "It takes 192 numbers a token, and\n    so many\n    keys.",
        "This is no rectangle.",
    ],
)
def test_a_translated_sentence_is_found(sentence):
    assert list(judged(sentence))


def test_a_question_and_a_quotation_are_left_alone():
    assert not list(judged("Who is next? Anyone who waits.\n```console\nbehind the mill, a dear king\n```\n"))


def test_edited_texts_do_not_sound_translated():
    found = [f"{where}: {words!r}, better: {better}" for where, words, better in places()]
    assert not found, "\n".join(found)
