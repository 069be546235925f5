"""Starting: the banner that works as printed, and one line that says why it does not start."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.terminal import command_line
from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Process, environment
from tests.contract.subjects import ROOT, Subject

pytestmark = pytest.mark.needs("http")
Start = Callable[..., tuple[int, str]]


@pytest.fixture
def start(
    subject: Subject,
    checkpoint: Checkpoint,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Start]:
    """start(*flags, **environment) -> (exit status, what stands on stderr), for servers that do not start."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*flags: str, model: str = checkpoint.argument, **env: str) -> tuple[int, str]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        main = subject.module("engine.server.__main__").main
        try:
            status = command_line.run(main, ["--port", "0", "--model", model, *flags])
        except SystemExit as e:
            status = int(e.code or 0)
        return status, capfd.readouterr().err

    yield run
    signal.signal(signal.SIGTERM, before)
    logging.getLogger().handlers[:] = [
        h for h in logging.getLogger().handlers if type(h) is not logging.StreamHandler
    ]


def assert_one_line(outcome: tuple[int, str], *parts: str) -> None:
    status, line = outcome
    assert status == 2
    assert line.startswith("error: ")
    assert line.count("\n") == 1, line
    for part in parts:
        assert part in line, line
    assert "functools" not in line


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_banners_curl_lines_work_as_printed(server: Process):
    commands = server.banner.partition("\n\n")[2]
    assert commands.count("curl") == 3
    done = subprocess.run(
        ["bash", "-ec", commands],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(no_proxy="*"),
        check=True,
    )
    lines = [line for line in done.stdout.replace("}{", "}\n{").splitlines() if line]
    health, rest = json.JSONDecoder().raw_decode(done.stdout)
    completion, _ = json.JSONDecoder().raw_decode(done.stdout[rest:].lstrip())
    assert health["status"] == "ok"
    assert completion["object"] == "text_completion"
    assert lines[-1] == "data: [DONE]"
    assert not any('"error"' in line for line in lines)


def test_the_url_of_an_ipv6_address_has_brackets(subject: Subject, capsys: pytest.CaptureFixture[str]):
    for host, url in (
        ("::1", "http://[::1]:80/v1"),
        ("::", "http://[::1]:80/v1"),
        ("0.0.0.0", "http://127.0.0.1:80/v1"),
    ):
        subject.module("engine.server.__main__").banner("m", host, 80)
        assert url in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--max-seq-len", "many"], ["max_seq_len", "'many'"]),
        (["--max-seq-len", "1"], ["max_seq_len", "at least 2"]),
        (["--max-seq-len", "99999"], ["max_seq_len", "99999", "window"]),
        (["--device", "tpu"], ["tpu", "cpu"]),
        (["--dtype", "int3"], ["int3", "float32"]),
        (["--port", "eighty"], ["--port", "'eighty'"]),
        (["--port", "65536"], ["port", "65535"]),
        (["--prot", "1"], ["--prot", "--port"]),
        (["extra"], ["extra"]),
        (["--allow-origin", "example.org"], ["--allow-origin", "'example.org'", "https://"]),
        (["--allow-origin", "https://a.org/page"], ["--allow-origin", "https://a.org/page"]),
    ],
)
def test_a_bad_flag_is_one_line_that_names_it(start: Start, flags: list[str], parts: list[str]):
    assert_one_line(start(*flags), *parts)


def test_a_bad_environment_variable_is_one_line_that_names_it(start: Start):
    assert_one_line(start(VITRINE_MAX_SEQ_LEN="x"), "VITRINE_MAX_SEQ_LEN", "'x'")
    assert_one_line(start(VITRINE_MAX_SEQ_LEN="99999"), "max_seq_len", "99999")


def test_a_flag_wins_over_the_environment(start: Start):
    assert_one_line(start("--max-seq-len", "88888", VITRINE_MAX_SEQ_LEN="99999"), "88888")


@pytest.mark.needs("queue")
def test_a_queue_without_room_is_refused(start: Start):
    assert_one_line(start("--max-waiting", "0"), "max_waiting", "at least 1")


def test_a_model_that_does_not_load_ends_the_process_with_the_reason(start: Start, tmp_path: Path):
    assert_one_line(start(model=str(tmp_path / "missing")), "missing", "storyteller")
    assert_one_line(start(model=str(tmp_path)), "config.json")
    (tmp_path / "config.json").write_text('{"model_type": "perceptron"}')
    assert_one_line(start(model=str(tmp_path)), "perceptron", "gpt2")


def test_a_second_server_on_the_same_port_says_so(server: Process, start: Start):
    port = server.url.rpartition(":")[2]
    assert_one_line(start("--port", port), port, "in use")


@pytest.mark.needs(ends=True)
def test_a_real_process_that_cannot_start_exits_with_the_reason(subject: Subject, tmp_path: Path):
    argv = [sys.executable, "-m", f"{subject.package}.engine.server", "--port", "0", "--model", str(tmp_path)]
    done = subprocess.run(
        argv, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert_one_line((done.returncode, done.stderr), "config.json")


@pytest.mark.needs(ends=True)
def test_the_server_does_not_import_transformers(subject: Subject):
    """Which would take seconds at every start."""
    code = f"import sys, {subject.package}.engine.server.__main__; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_small_answers_do_not_wait_for_an_acknowledgement(subject: Subject):
    """Without this option every answer took 40 ms, and no test that may not assert a tight time would have noticed."""
    import socket

    with subject.module("engine.server.__main__").listen("127.0.0.1", 0) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
