"""Clients that hang up: their work ends within a step, and nothing of it stays."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import random
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.contract.checkpoint import Checkpoint
from tests.contract.servers import Inside, Process, Server, until
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http", "cancel")
PROMPT = "Once upon a time"
LONG = 900  # tokens


def connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=60)


def send(server: Server, stream: bool, count: int = LONG) -> socket.socket:
    """A connection over which a long request has been sent."""
    body = {
        "model": server.model,
        "prompt": PROMPT,
        "max_tokens": count,
        "temperature": 0,
        "ignore_eos": True,
    }
    payload = json.dumps({**body, "stream": stream}).encode()
    sock = connect(server)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}"
    sock.sendall(head.encode() + b"\r\n\r\n" + payload)
    return sock


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("allowed", [0, 5], ids=["prefill", "decode"])
def test_a_hang_up_while_it_runs_ends_the_request(
    inside: Inside, checkpoint: Checkpoint, stream: bool, allowed: int
):
    before = inside.gate.passed
    with inside.gate.held(allowed):
        sock = send(inside, stream)
        inside.gate.reached()
        sock.close()
        time.sleep(0.2)  # for the news to arrive
    until(inside.idle, "an idle engine")
    assert inside.gate.passed - before <= allowed + 3
    assert inside.text(PROMPT, 4) == checkpoint.greedy_text(PROMPT, 4)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_hang_up_in_the_queue_costs_no_forward_pass(inside: Inside, stream: bool):
    before = inside.gate.passed
    with inside.gate.held():
        first = threading.Thread(target=inside.text, args=(PROMPT, 6))
        first.start()
        inside.gate.reached()
        for sock in [send(inside, stream) for _ in range(5)]:
            time.sleep(0.05)
            sock.close()
        time.sleep(0.2)
    first.join()
    until(inside.idle, "an idle engine")
    assert inside.gate.passed - before <= 6 + 1


@pytest.mark.needs("request_status")
def test_a_request_whose_client_hung_up_is_cancelled(inside: Inside):
    with inside.gate.held(2):
        sock = send(inside, stream=True)
        inside.gate.reached()
        assert inside.requests()[-1]["status"] == "running"
        sock.close()
        time.sleep(0.2)
    until(inside.idle, "an idle engine")
    last = inside.requests()[-1]
    assert (last["status"], last["finish_reason"]) == ("cancelled", "abort")
    assert last["output_tokens"] < 10


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_first_prompt_ends_when_the_second_is_refused(inside: Inside, stream: bool):
    before = inside.gate.passed
    response = inside.complete([[5], [5] * 5000], max_tokens=LONG, ignore_eos=True, stream=stream)
    assert response.status_code == 400
    until(inside.idle, "an idle engine")
    assert inside.gate.passed - before < LONG / 2


def storm(server: Process, count: int, seed: int) -> None:
    """Clients that hang up after a random time, some with a reset, some half-closed first."""
    rng = random.Random(seed)
    plans = [
        (rng.random() * 0.15, rng.random() < 0.5, rng.choice(["close", "reset", "half"]))
        for _ in range(count)
    ]

    def one(plan: tuple[float, bool, str]) -> None:
        after, stream, how = plan
        sock = send(server, stream, 240)
        time.sleep(after)
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if how == "half":
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            time.sleep(0.02)
        sock.close()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(one, plans))


def assert_nothing_left(subject: Subject, server: Process, checkpoint: Checkpoint, count: int) -> None:
    storm(server, 12, seed=1)  # pools of threads and allocators grow to their size
    assert server.text(PROMPT, 4) == checkpoint.greedy_text(PROMPT, 4)
    threads, memory = server.usage()
    storm(server, count, seed=2)
    began = time.monotonic()
    assert server.text(PROMPT, 4) == checkpoint.greedy_text(PROMPT, 4)
    assert time.monotonic() - began < 10  # and not after 240 tokens for each of them
    if "request_status" in subject.capabilities:
        until(lambda: {r["status"] for r in server.requests()} <= {"finished", "cancelled"}, "no work")
        assert any(r["status"] == "cancelled" for r in server.requests())
    after_threads, after_memory = server.usage()
    # Before there is a queue, requests wait in a pool of threads, which grows to 64 and stays.
    pool = 0 if "queue" in subject.capabilities else 64
    assert after_threads <= threads + 8 + pool
    assert after_memory - memory < 64 << 20


def test_30_random_hang_ups_leave_nothing(subject: Subject, server: Process, checkpoint: Checkpoint):
    assert_nothing_left(subject, server, checkpoint, 30)


@pytest.mark.slow
def test_200_random_hang_ups_leave_nothing(subject: Subject, server: Process, checkpoint: Checkpoint):
    assert_nothing_left(subject, server, checkpoint, 200)


def test_slow_and_half_open_connections_hinder_nobody(server: Process):
    threads, _ = server.usage()
    socks = [connect(server) for _ in range(40)]
    for i, sock in enumerate(socks):
        sock.sendall(
            (b"", b"POST /v1/comp", b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n{", b"\x16\x03\x01")[i % 4]
        )
    assert server.complete(PROMPT, max_tokens=2).status_code == 200
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.recv(1)  # an answer or an end, and no waiting for ever
        sock.close()
    assert server.usage()[0] <= threads + 8
    assert server.http.get("/health").status_code == 200


def test_a_reader_who_stops_reading_hinders_nobody(server: Process):
    sock = send(server, stream=True, count=200)
    assert server.complete(PROMPT, max_tokens=2).status_code == 200
    sock.close()


def test_a_dropped_connection_is_no_error_in_the_log(server: Process):
    with contextlib.suppress(httpx.ReadTimeout):
        server.http.post(
            "/v1/completions",
            json={
                "model": server.model,
                "prompt": PROMPT,
                "max_tokens": 240,
                "temperature": 0,
                "ignore_eos": True,
            },
            timeout=0.02,
        )
    server.complete(PROMPT, max_tokens=2)
    assert "Traceback" not in server.errors.read_text()
