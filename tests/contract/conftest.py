"""The contract suite: what every stage that claims a capability must do, seen from outside.

`pytest tests/contract --stage 04 --stage 06` runs it on these stages; without, on all. Tests get a `subject` (a stage),
a `server` (a process of it) and `inside` (the same in this process, with a gate before the model).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.contract.checkpoint import Checkpoint, load_checkpoint
from tests.contract.servers import Inside, Process, inside, process
from tests.contract.subjects import Subject, parse, select

WINDOW = 256  # of the server process


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stage",
        action="append",
        default=None,
        help="run the contract suite on this stage only (repeatable)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "needs(*capabilities, without=(), ends=False): run on the stages that claim them; "
        "ends: only on the first and the newest of these",
    )
    chosen(config)  # a wrong number is one line, before anything is collected


def chosen(config: pytest.Config) -> frozenset[int] | None:
    # Not registered when the suite is collected from above this folder; then nobody can have given it.
    given = config.getoption("--stage", default=None)
    try:
        return frozenset(map(parse, given)) if given else None
    except ValueError as e:
        raise pytest.UsageError(str(e)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" not in metafunc.fixturenames:
        return
    needs: set[str] = set()
    without: set[str] = set()
    ends = False
    for mark in metafunc.definition.iter_markers("needs"):
        needs.update(mark.args)
        without.update(mark.kwargs.get("without", ()))
        ends |= mark.kwargs.get("ends", False)
    found = select(needs, without, ends, chosen(metafunc.config))
    metafunc.parametrize("subject", found, ids=str, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that no stage is ready for is not skipped but absent."""

    def ready(item: pytest.Item) -> bool:
        params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
        return not params or "subject" not in params or isinstance(params["subject"], Subject)

    absent = [item for item in items if not ready(item)]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if ready(item)]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def server(
    subject: Subject, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """One process a stage, for all tests that do it no harm."""
    with process(
        subject, checkpoint, tmp_path_factory.mktemp("server"), f"--max-seq-len={WINDOW}"
    ) as running:
        yield running


@pytest.fixture(scope="session")
def inside_server(subject: Subject, checkpoint: Checkpoint) -> Iterator[Inside]:
    logging.getLogger("vitrine").setLevel(logging.CRITICAL)
    with inside(subject, checkpoint) as running:
        yield running


@pytest.fixture(name="inside")
def idle_inside(inside_server: Inside) -> Iterator[Inside]:
    """The server in this process, with nothing to do."""
    from tests.contract.servers import until

    until(inside_server.idle, "an idle engine")
    yield inside_server
    inside_server.gate.set(None)
