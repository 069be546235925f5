"""Conversations made by script from tales: somebody asks for a story, and goes on asking; the answers are the tale.

Every answer is either a stretch of a tale that ends where a sentence ends, or one of a few lines of our own
(`phrases`). What is claimed is true by construction: a tale "about a fox" has one in its opening, "the end" is said
where the tale ends.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.tokenizer import Tokenizer

from . import phrases
from .shapes import ASSISTANT, END, END_OF_TEXT
from .text import IGNORE, encode_all

SHORTEST, LONGEST, WHOLE = 240, 720, 950  # characters of an answer; a tale up to WHOLE is told at once
OPENING = re.compile(
    r"""["']?(Once|There (was|were|lived|once)|Long|In (the|a|an|old)|One|An? [A-Z]|Many|At one|Far)"""
)
MARK = re.compile(
    r"""(?P<paragraph>\n\n)|(?P<end>(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?]["']?(?=\s+[^a-z\s]|\s*$))|(?P<double>")
    |(?P<open>(?<![^\s\-("])'(?=\w))|(?P<close>(?<=[\w.,!?])'(?=[\s\-)]|$))""",
    re.VERBOSE,
)

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Tale:
    """The beginning of a document, and where it may be cut. `subjects`: what its opening is about, most named first."""

    text: str
    ends: tuple[int, ...]  # offsets behind a sentence, outside of direct speech
    subjects: tuple[str, ...]
    complete: bool  # the text is the whole document
    classic: bool  # opens as tales do

    def next_cut(self, start: int, length: int) -> int | None:
        """A cut about `length` characters behind `start`; None where none comes soon or the text is over."""
        rest = len(self.text) - start
        if self.complete and rest and (rest <= length or (rest <= LONGEST and rest - length < SHORTEST)):
            return len(self.text)
        at = bisect_left(self.ends, start + length)
        return self.ends[at] if at < len(self.ends) and self.ends[at] <= start + LONGEST + SHORTEST else None


def read_tale(document: str, limit: int = 5000) -> Tale:
    text = document[:limit].rstrip()
    return Tale(
        text,
        tuple(sentence_ends(text)),
        find_subjects(text),
        len(document) <= limit,
        bool(OPENING.match(text)),
    )


def sentence_ends(text: str) -> Iterator[int]:
    """Offsets behind sentences that leave no quotation open in their paragraph."""
    double = single = 0  # quotation marks seen; opened less closed
    for mark in MARK.finditer(text):
        if mark.lastgroup == "paragraph":
            double = single = 0
        double += mark[0].count('"')
        single += (mark.lastgroup == "open") - (mark.lastgroup != "open" and "'" in mark[0])
        if mark.lastgroup == "end" and double % 2 == 0 and single == 0:
            yield mark.end()


def find_subjects(text: str) -> tuple[str, ...]:
    """Names and nouns that the first lines mention and the opening repeats."""
    opening = text[:1200]
    names = [name for name in phrases.NAMES if name in opening[:400] and opening.count(name) > 1]
    early = set(re.findall(r"[a-z]+", opening[:300].lower()))
    count = Counter(re.findall(r"[a-z]+", opening.lower()))
    nouns = [noun for noun in phrases.SUBJECTS if noun in early and count[noun] > 1]
    nouns.sort(key=lambda noun: -count[noun] / (3 if noun in phrases.COMMON else 1))
    return (*names, *nouns)[:4]


def with_article(subject: str) -> str:
    """fox -> a fox; a name stays as it is."""
    if subject[0].isupper():
        return subject
    return f"{'an' if subject[0] in 'aeiou' else 'a'} {subject}"


def listed(subjects: Sequence[str]) -> str:
    """a king, a queen and a fox"""
    named = [with_article(subject) for subject in subjects]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


class Writer:
    """Writes conversations from a list of documents; the same seed writes the same ones."""

    def __init__(self, documents: Sequence[str], seed: int = 0):
        self.random = random.Random(seed)
        # A chapter that opens in the middle of a talk is no beginning of a tale.
        self.tales = [read_tale(document) for document in documents if document[0] not in "'\""]
        self.named = [tale for tale in self.tales if tale.subjects and tale.classic] or self.tales

    def write(self, copies: int) -> Iterator[list[Message]]:
        """`copies` conversations for each tale that opens as tales do, half as many for others, and small talk."""
        plan = [tale for tale in self.tales for _ in range(copies if tale.classic else (copies + 1) // 2)]
        self.random.shuffle(plan)
        for tale in plan:
            if self.random.random() < 0.05:
                yield [*self.small_talk()]
            messages = self.conversation(tale) if tale.classic or tale.subjects else []
            if messages and messages[-1]["role"] == "assistant":  # a tale may offer no place to stop
                yield messages

    def conversation(self, tale: Tale) -> list[Message]:
        messages = [*self.small_talk()] if self.random.random() < 0.06 else []
        if self.random.random() < 0.25:
            messages.insert(0, message("system", self.random.choice(phrases.SYSTEM)))
        turns = self.random.choices((1, 2, 3, 4, 5), (10, 22, 30, 25, 13))[0]
        request = self.request(tale, phrases.ASK, phrases.ASK_ANY)
        messages += self.tell(tale, request, turns)
        other = self.random.choice(self.named)
        if turns <= 3 and other.subjects and self.random.random() < 0.2:
            messages += self.tell(other, self.request(other, phrases.ANOTHER, phrases.ASK_ANY), 1)
        if self.random.random() < 0.08:
            messages += self.exchange(phrases.THANKS, phrases.THANKS_ANSWERS)
        return messages

    def tell(self, tale: Tale, request: str, turns: int) -> Iterator[Message]:
        """The tale from its beginning, a stretch for each turn."""
        start, whole = 0, tale.complete and len(tale.text) <= WHOLE
        for turn in range(turns):
            length = len(tale.text) if whole else self.random.randint(SHORTEST, LONGEST)
            cut = tale.next_cut(start, length)
            if cut is None:
                break
            yield message("user", request if turn == 0 else self.spoken(self.random.choice(phrases.GO_ON)))
            yield message("assistant", tale.text[start:cut].strip())
            start = cut
            if start == len(tale.text):
                if turn + 1 < turns:
                    yield from self.exchange(phrases.GO_ON, phrases.MORE_AFTER_END)
                break
        if start and tale.subjects and self.random.random() < 0.1:
            yield message("user", self.spoken(self.random.choice(phrases.WHO)))
            yield message("assistant", f"It is about {listed(tale.subjects[:2])}.")

    def request(self, tale: Tale, about: Sequence[str], anything: Sequence[str]) -> str:
        if not tale.subjects or (tale.classic and self.random.random() < 0.15):
            return self.spoken(self.random.choice(anything))
        weights = [4, 2, 1, 1][: len(tale.subjects)]
        chosen = self.random.choices(tale.subjects, weights)
        if len(tale.subjects) > 1 and self.random.random() < 0.2:
            chosen = list(tale.subjects[:2])
        text = self.random.choice(about).format(a=listed(chosen), bare=" and ".join(chosen).capitalize())
        return self.spoken(text)

    def small_talk(self) -> Iterator[Message]:
        pairs = (
            (phrases.HELLO, phrases.HELLO_ANSWERS),
            (phrases.WHO_ARE_YOU, phrases.WHO_ANSWERS),
            (phrases.OFF_TOPIC, phrases.OFF_TOPIC_ANSWERS),
        )
        yield from self.exchange(*self.random.choices(pairs, (3, 1, 1))[0])

    def exchange(self, said: Sequence[str], answers: Sequence[str]) -> Iterator[Message]:
        yield message("user", self.spoken(self.random.choice(said)))
        yield message("assistant", self.random.choice(answers))

    def spoken(self, text: str) -> str:
        """As people type: sometimes without capitals, sometimes without the full stop."""
        if self.random.random() < 0.15:
            text = text.lower()
        return text.rstrip(".!") or text if self.random.random() < 0.15 else text


def message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def encode(
    tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]]
) -> Iterator[tuple[list[int], list[int]]]:
    """(ids, targets) of each conversation. Only what the assistant says, its <|end|> included, is a target."""
    texts = [tokenizer.render_chat(messages, add_generation_prompt=False) for messages in conversations]
    for ids in encode_all(tokenizer, texts):
        ids = [*ids, END_OF_TEXT]
        targets = [IGNORE] * len(ids)
        for start, end in answers(ids):
            targets[start - 1 : end - 1] = ids[start:end]  # position i predicts token i + 1
        yield ids, targets


def answers(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """[start, end) of each answer in a conversation: behind "<|assistant|>\\n", up to and with <|end|>."""
    for at, token in enumerate(ids):
        if token == ASSISTANT:
            yield at + 2, next(i for i in range(at, len(ids)) if ids[i] == END) + 1
