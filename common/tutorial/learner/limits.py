"""A test that hangs fails. A pytest plugin, on top of pytest-timeout, for every pytest of this project.

pytest-timeout interrupts a test at its limit, shows the stacks of all threads, and the run goes on. Where nothing can
be interrupted (a kernel that never returns, a pool that waits for its threads, a teardown), the process ends a little
later, after its stacks have been shown. After three tests that ran out of time the run stops: the rest would wait just
as long.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from typing import Any

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key as STDERR

__all__ = ["MOST", "OUT_OF_TIME"]

OUT_OF_TIME = "from pytest-timeout"  # in the message of a test that it has interrupted
MOST = 3  # tests that may run out of time before the run stops
SLOW = 600  # seconds for a test that is marked slow and says nothing else
GRACE = 60  # seconds that a test may take to end once it has been interrupted
SECONDS = pytest.StashKey[float]()
HUNG = pytest.StashKey[int]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW))


def watch(item: pytest.Item, seconds: float) -> None:
    """End the process `seconds` and a moment from now."""
    limit = item.stash.get(SECONDS, 0.0)
    if limit:
        # The descriptor that pytest keeps open, because that of sys.stderr is captured.
        file = item.config.stash[STDERR]
        faulthandler.dump_traceback_later(seconds + min(limit, GRACE), exit=True, file=file)


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    item.stash[SECONDS] = settings.timeout
    watch(item, settings.timeout)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    # Once more, because a failure switches all timers off, for the debugger's sake.
    watch(item, 0 if HUNG in item.stash else item.stash.get(SECONDS, 0.0))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    session = item.session
    if call.excinfo is not None and OUT_OF_TIME in str(call.excinfo.value):
        item.stash[HUNG] = 1
        session.stash[HUNG] = session.stash.get(HUNG, 0) + 1
        if session.stash[HUNG] == MOST:
            session.shouldfail = f"{MOST} tests ran out of time"
    return (yield)
