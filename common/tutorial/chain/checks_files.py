"""Checks of what is where: a stage's files, its article, recorded results, claims and answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from common.bench.results import code_hash, load_result
from common.errors import UserError
from common.tutorial.chain import Stage
from common.tutorial.chain.checks_base import Chain, Finding
from common.tutorial.chain.claims import Lookup, evaluate, evaluate_number, recorded
from common.tutorial.chain.predictions import offered, right_answers, values
from common.tutorial.chain.spread import recorded_samples

__all__ = ["CHECKS"]

REQUIRED = ("__init__.py", "README.md", "stage.toml", "__main__.py", "bench.py", "test_stage.py", "engine")
POSSIBLE = (*REQUIRED, "exercises", "lesson", "trace.txt", "trace.json")
BESIDE_STAGES = ("__init__.py", "README.md", "chain.lock", "conftest.py")
EXERCISE = re.compile(r"(?:test_|solution_)?(ex\d_\w+)\.py")


def nothing_is_missing_or_stray(chain: Chain) -> Iterator[Finding]:
    """Each stage has the files that the layout names, and nothing else."""
    folders = {stage.folder.name for stage in chain.stages}
    for path in _visible(chain.root / "stages"):
        if path.name not in folders and path.name not in BESIDE_STAGES and any(_visible(path)):
            yield Finding(
                "stages", f"{path.name} is not part of the chain: write its stage.toml, or remove it"
            )
    for stage in chain.stages:
        names = {path.name for path in _visible(stage.folder)}
        for name in sorted(set(REQUIRED) - names):
            yield Finding(stage.folder.name, f"{name} is missing: every stage has one")
        for name in sorted(names - set(POSSIBLE)):
            message = (
                f"{name} is not expected in a stage (there are {', '.join(POSSIBLE)}): move or remove it"
            )
            yield Finding(stage.folder.name, message)


def _visible(folder: Path) -> Iterator[Path]:
    """What is in `folder`, without hidden files and caches; the file itself where it is one."""
    if not folder.is_dir():
        if folder.exists():
            yield folder
        return
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.name != "__pycache__":
            yield path


def exercises_are_whole(chain: Chain) -> Iterator[Finding]:
    """Each exercise has a starter, a test and a solution, and there are two or three of them."""
    for stage in chain.stages:
        folder = stage.folder / "exercises"
        names = {path.name for path in _visible(folder)} if folder.is_dir() else set()
        exercises = {match[1] for name in names if (match := EXERCISE.fullmatch(name))}
        for exercise in sorted(exercises):
            for name in (f"{exercise}.py", f"test_{exercise}.py", f"solution_{exercise}.py"):
                if name not in names:
                    yield Finding(stage.folder.name, f"exercises/{name} is missing: write it")
        for name in sorted(name for name in names if name.endswith(".py") and not EXERCISE.fullmatch(name)):
            if name not in ("__init__.py", "conftest.py"):
                message = (
                    f"exercises/{name} is not named ex1_NAME.py, test_ex1_NAME.py or solution_ex1_NAME.py"
                )
                yield Finding(stage.folder.name, message)
        if len(exercises) not in (2, 3):
            yield Finding(
                stage.folder.name, f"has {len(exercises)} exercises; there should be two or three", True
            )


def articles_go_with_stages(chain: Chain) -> Iterator[Finding]:
    """articles/07-prefill-batching.md goes with s07_prefill_batching; 00 is about the model."""
    folder = chain.root / "articles"
    if not folder.is_dir():
        return
    wanted = {f"{stage.number:02d}-{stage.slug.replace('_', '-')}.md": stage for stage in chain.stages}
    there = {path.name for path in folder.glob("[0-9][0-9]-*.md")}
    for name, stage in wanted.items():
        if name not in there:
            yield Finding(stage.folder.name, f"articles/{name} is missing: write it")
    for name in sorted(there - set(wanted)):
        if not name.startswith("00-"):
            yield Finding("articles", f"{name} belongs to no stage: rename or remove it")


def results_fit_their_stage(chain: Chain) -> Iterator[Finding]:
    """Each recorded result is whole, belongs to a stage, and came from today's code (else a warning)."""
    stages = {stage.number: stage for stage in chain.stages}
    for path in sorted((chain.root / "benchmarks" / "results").glob("*/s[0-9][0-9]*.json")):
        where = f"results/{path.parent.name}/{path.name}"
        stage = stages.get(int(path.name[1:3]))
        if stage is None:
            yield Finding(where, f"there is no stage {path.name[1:3]}: remove the file")
            continue
        again = f"record it again with make bench-{stage.nn}"
        try:
            result = load_result(path.stem, path.parent.name, path.parent)
        except UserError as error:
            yield Finding(where, f"{error}: {again}")
            continue
        if result["name"] != path.stem or result["stage"] != stage.number:
            yield Finding(where, f"says name {result['name']!r}, stage {result['stage']!r}: {again}")
        if "--quick" in result["command"]:
            yield Finding(where, f"is a short run, {result['command']!r}: {again}")
        if result["code_hash"] != code_hash(stage.folder):
            yield Finding(where, f"recorded with other code than today's: {again}", warning=True)


def claims_hold(chain: Chain) -> Iterator[Finding]:
    """Every claim is true of the recorded results; the headline and the answers can be computed."""
    r = recorded(chain.root)
    for stage in chain.stages:
        for name, expression in stage.manifest.claims.items():
            message = _claim(name, expression, r)
            if message:
                yield Finding(stage.folder.name, message)
        yield from (Finding(stage.folder.name, message) for message in _numbers(stage, r))


def _claim(name: str, expression: str, r: Lookup) -> str | None:
    try:
        value = evaluate(expression, r)
    except UserError as error:
        return f"claim {name}: {error}"
    if value is True:
        return None
    if value is not False:
        return f"claim {name}: {expression} gives {value!r}: a claim is a comparison"
    return f"claim {name} does not hold: {expression} ({_filled_in(expression, r)}): correct the claim or the code"


def _filled_in(expression: str, r: Lookup) -> str:
    """The expression with the recorded values in place of r(...), so that a reader sees by how much it misses."""
    pattern = r"r\(\s*['\"]([^'\"]+)['\"]\s*,\s*['\"]([^'\"]+)['\"]\s*,\s*['\"]([^'\"]+)['\"]\s*\)"
    return re.sub(pattern, lambda match: f"{r(match[1], match[2], match[3]):.6g}", expression)


def _numbers(stage: Stage, r: Lookup) -> Iterator[str]:
    """What is wrong with the headline's expressions and the predictions' answers."""
    if head := stage.manifest.headline:
        for name, expression in (("before", head.before), ("after", head.after)):
            try:
                if expression:
                    evaluate_number(expression, r)
            except UserError as error:
                yield f"headline {name}: {error}"
    for number, item in enumerate(stage.manifest.predict, start=1):
        try:
            if item.choices and isinstance(item.choices[0], str):
                if (answer := evaluate(item.answer, r)) not in item.choices:
                    yield f"prediction {number}: the answer is {answer!r}, not one of its choices"
            else:
                evaluate_number(item.answer, r)
        except UserError as error:
            yield f"prediction {number}: {error}"


def predictions_are_stable(chain: Chain) -> Iterator[Finding]:
    """A question has one right answer, whichever of the recorded samples is taken (else a warning)."""
    r, samples = recorded(chain.root), recorded_samples(chain.root)
    for stage in chain.stages:
        for number, item in enumerate(stage.manifest.predict, start=1):
            found = values(item, r, samples)
            if offered(item) and len(right := right_answers(item, found)) > 1:
                message = (
                    f"prediction {number}: the samples allow {', '.join(map(str, sorted(right, key=str)))}"
                )
                yield Finding(
                    stage.folder.name, f"{message}: ask for what does not depend on luck", warning=True
                )


CHECKS: tuple[Callable[[Chain], Iterator[Finding]], ...] = (
    nothing_is_missing_or_stray,
    exercises_are_whole,
    articles_go_with_stages,
    results_fit_their_stage,
    claims_hold,
    predictions_are_stable,
)
