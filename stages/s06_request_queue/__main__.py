"""The demo of stage 06: clients wait their turn while we watch the queue; one hangs up; timestamps tell the story."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from common.errors import UserError
from common.terminal.command_line import add_max_tokens, add_model_flags, add_seed, number, run, stage_parser
from common.terminal.console import console, heading, live, note, show, table, warn, write
from common.terminal.shell import curl_lines

from .engine import Engine, EngineConfig, Request, SamplingParams, Status
from .lesson.clients import Client
from .lesson.live import LiveServer
from .lesson.view import OUTSIDE, Entry, Milestones, queue_table, timeline

PROMPTS = (
    "Once upon a time",
    "The old king",
    "A fox and a hare",
    "In the dark forest",
    "The miller's daughter",
)
FRAMES = 0.05  # seconds between two looks at the queue


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s06_request_queue",
        "Clients of a live server wait in the queue, which is shown as it moves; one of them hangs up.",
        ["--clients 8 --max-tokens 100", "--hang-up 0", "--keep --port 8000"],
    )
    add_model_flags(parser)
    add_max_tokens(parser, 160)
    add_seed(parser)
    parser.add_argument(
        "--clients",
        type=number(int, 1, 50),
        default=4,
        metavar="N",
        help="clients that ask at once (%(default)s)",
    )
    parser.add_argument(
        "--hang-up", type=number(int, 0), default=2, metavar="N",
        help="which client hangs up half-way; 0 for none (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--port",
        type=number(int, 0, 65535),
        default=0,
        metavar="N",
        help="port; 0 picks a free one (%(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the server running until Ctrl-C")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.hang_up > args.clients:
        raise UserError(f"--hang-up {args.hang_up}: there are {args.clients} clients; 0 is for none")
    engine = Engine.from_pretrained(
        args.model, EngineConfig(args.device, args.dtype, max_waiting=args.clients)
    )
    for prompt in PROMPTS[: args.clients]:
        engine.max_tokens(engine.encode(prompt), SamplingParams(args.max_tokens))  # refused here, in one line
    warm_up(engine)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    name = Path(args.model).expanduser().resolve().name if Path(args.model).is_dir() else args.model
    with LiveServer(engine, name, args.port) as server:
        clients = make_clients(args, server.url, name)
        show_start(server, clients)
        entries = show_queue(engine, clients)
        in_order = show_times(entries)
        show_request(server.url, entries[max(args.hang_up - 1, 0)])
        heading("The queue page")
        write(f"{server.url}/queue", end="\n", style="bold cyan")
        if args.keep:
            note("Serving until Ctrl-C.")
            wait_for_ctrl_c()
        else:
            note(
                "It shows the same in a browser, live. --keep leaves the server running, so that you can look."
            )
    return 0 if in_order else 1


def warm_up(engine: Engine) -> None:
    """The first pass of a process is slow for reasons of its own. Another engine makes it, so that this one's queue stays empty."""
    Engine(engine.model, engine.tokenizer, engine.model_config, engine.config).generate([PROMPTS[0]])


def make_clients(args: argparse.Namespace, url: str, model: str) -> list[Client]:
    clients = []
    for i in range(args.clients):
        prompt = PROMPTS[i % len(PROMPTS)]
        body = {"model": model, "prompt": prompt, "max_tokens": args.max_tokens, "temperature": 0.8,
                "seed": args.seed + i, "ignore_eos": True, "stream": True}  # fmt: skip
        leaves = max(1, args.max_tokens // 3) if i + 1 == args.hang_up else None
        clients.append(Client(f"client {i + 1}", url, body, leaves))
    return clients


def show_start(server: LiveServer, clients: Sequence[Client]) -> None:
    heading(f"{len(clients)} clients, one engine that serves one at a time")
    write(f"$ {clients[0].typed}", end="\n", style="bold cyan")
    note(f"{len(clients)} of these, one right after another, each with its own prompt and seed.")
    for client in clients:
        if client.hang_up_after:
            note(f"{client.name} will hang up after {client.hang_up_after} chunks of its answer.")
    note(f"In a browser: {server.url}/queue")


def show_queue(engine: Engine, clients: Sequence[Client]) -> list[Entry]:
    """Starts the clients and draws the queue until all have gone."""
    show("")
    with live() as view:
        milestones = Milestones(time.perf_counter())
        entries = [Entry(client, arrive(engine, client)) for client in clients]
        while True:
            going = any(not e.request.done or e.client.thread.is_alive() for e in entries)
            news = milestones.news(entries)
            view.update(queue_table(entries, time.perf_counter()), "\n".join(news) or None)
            if not going:
                return entries
            time.sleep(FRAMES)


def arrive(engine: Engine, client: Client) -> Request:
    """Starts a client -> its request, once the engine has it. Raises UserError if the server refuses it."""
    before = set(engine.requests)
    client.start()
    while True:
        new = [r for name, r in list(engine.requests.items()) if name not in before]
        if new:
            return new[0]
        if not client.thread.is_alive():
            raise UserError(f"{client.name} was refused: {client.error or 'no answer'}")
        time.sleep(0.001)


def show_times(entries: Sequence[Entry]) -> bool:
    """The story that the timestamps tell -> whether the clients that stayed were served in order of arrival."""
    heading("What the timestamps say")
    show("", timeline(entries, console.width - OUTSIDE), "")
    rows = []
    for e in entries:
        r = e.request
        waited, served = (r.started or r.finished) - r.arrived, r.finished - r.started if r.started else 0.0
        rows.append(
            [e.client.name, r.status.value, f"{waited:.2f} s", f"{served:.2f} s", r.num_output_tokens]
        )
    table(None, ["client", "state", "waited", "was served for", "tokens"], rows)
    stayed = [e for e in entries if e.request.status is Status.FINISHED]
    ends = [e.request.finished for e in stayed]
    in_order = ends == sorted(ends) and len(stayed) + sum(bool(e.client.hung_up) for e in entries) == len(
        entries
    )
    names = ", ".join(e.client.name for e in sorted(stayed, key=lambda e: e.request.finished))
    (note if in_order else warn)(f"The clients that stayed finished in this order: {names}.")
    for e in entries:
        if e.client.hung_up:
            gone = 1000 * (e.request.finished - e.client.hung_up)
            note(
                f"{e.client.name} hung up; {gone:.0f} ms later its request was gone and the engine free for the next."
            )
    return in_order


def show_request(url: str, entry: Entry) -> None:
    """GET /v1/requests/{id}, which any client may ask."""
    heading("One request, seen from outside")
    name = entry.request.id.rpartition("-")[0]
    write(f"$ {curl_lines(['curl', '-s', f'{url}/v1/requests/{name}'])}", end="\n", style="bold cyan")
    answer = httpx.get(f"{url}/v1/requests/{name}", timeout=30).json()
    write(json.dumps(answer, indent=2), end="\n")
    note("Times are in seconds since the request arrived.")


def wait_for_ctrl_c() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        write(end="\n")


if __name__ == "__main__":
    sys.exit(run(main))
