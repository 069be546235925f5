"""The demo of stage 04: a live server, called with curl and OpenAI's client; what goes over the wire; a hang-up."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from common.errors import UserError
from common.loader import find_checkpoint, load_config
from common.terminal.command_line import (
    DEFAULT_PROMPT,
    add_max_tokens,
    add_model_flags,
    choice,
    number,
    run,
    stage_parser,
)
from common.terminal.console import Flow, heading, note, show, table, write
from common.terminal.shell import command_lines
from common.tokenizer import Tokenizer

from .lesson import hangup, openai_client
from .lesson.process import LiveServer, server_flags
from .lesson.readers import replay, stream_reader, whole_reader
from .lesson.wire import Arrivals, Call, changes, curl, payload, text_of

MESSAGE = "Tell me a story about a fox."
WIRE_INDENT = 11  # columns for the time before each chunk
LONG = 300  # tokens of the answer that another request has to wait for


@dataclass(frozen=True, slots=True)
class Scene:
    """Which server is asked, and what."""

    server: LiveServer
    prompt: str
    message: str
    max_tokens: int
    room: int  # tokens that fit after the prompt

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def model(self) -> str:
        return self.server.model

    def completion(self, **more: object) -> dict[str, object]:
        return {"model": self.model, "prompt": self.prompt, **more}

    def chat(self, **more: object) -> dict[str, object]:
        messages = [{"role": "user", "content": self.message}]
        return {"model": self.model, "messages": messages, **more}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(
        "python -m stages.s04_http_server",
        "A live server on a free port: called with curl and with OpenAI's client, hung up on, and stopped.",
        ['--prompt "The old king"', "--only wire --max-tokens 5", "--keep --port 8000"],
    )
    add_model_flags(parser)
    parser.add_argument(
        "--prompt", default=DEFAULT_PROMPT, metavar="TEXT", help="text to continue (%(default)r)"
    )
    parser.add_argument("--message", default=MESSAGE, metavar="TEXT", help="message to answer (%(default)r)")
    add_max_tokens(parser, 40)
    parser.add_argument(
        "--only",
        action="append",
        type=choice(*PARTS),
        metavar="PART",
        help=f"show only this part: {', '.join(PARTS)} (repeatable)",
    )
    parser.add_argument(
        "--port",
        type=number(int, 0, 65535),
        default=0,
        metavar="N",
        help="port of the server, 0 picks a free one (%(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the server running until Ctrl-C")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    room = check(args)
    with LiveServer(server_flags(args.model, args.device, args.dtype), args.port) as server:
        if args.only:
            server.wait_ready()
        else:
            show_start(server)
        scene = Scene(server, args.prompt, args.message, args.max_tokens, room)
        for name, show_part in PARTS.items():
            if not args.only or name in args.only:
                show_part(scene)
        if args.keep:
            return keep(server)
        if not args.only:
            show_stop(server)
        server.stop()
    return 0 if server.exit_code == 0 else 1


def check(args: argparse.Namespace) -> int:
    """Tokens that fit after the prompt. Raises UserError for what the server would refuse, before starting one."""
    folder = find_checkpoint(args.model)
    window, tokenizer = load_config(folder).max_positions, Tokenizer.from_folder(folder)
    prompt = len(tokenizer.encode(args.prompt))
    chat = len(tokenizer.encode_chat([{"role": "user", "content": args.message}]))
    if not prompt:
        raise UserError("--prompt: is empty, give at least one token")
    for flag, tokens in (("--prompt", prompt), ("--message", chat)):
        if tokens + args.max_tokens > window:
            raise UserError(
                f"{flag}: {tokens} tokens and --max-tokens {args.max_tokens} make {tokens + args.max_tokens}, "
                f"but the model's window is {window} tokens"
            )
    return window - prompt


def show_start(server: LiveServer) -> None:
    heading("A server starts")
    type_out(command_lines(["python", *server.command[1:]]))
    flow = Flow()
    flow.write(server.banner.splitlines()[0], style="bright_black")
    flow.end()
    show("")
    for seconds, state in server.states():
        write(f"{seconds:7.2f} s  GET /health  ", style="bright_black")
        write(state, end="\n", style="green" if state.startswith("200") else "yellow")
    note(
        "The port is open before the model is loaded; until then, callers get a 503 instead of a hung connection."
    )


def show_readers(scene: Scene) -> None:
    """The same answer for a client that waits for all of it, and for one that reads a stream."""
    heading("Two readers, one answer")
    body = scene.chat(max_tokens=scene.max_tokens)
    calls = [Call("/v1/chat/completions", more) for more in (body, body | {"stream": True})]
    for call in calls:
        type_out(call.typed(scene.url))
    whole, streamed = whole_reader(calls[0], scene.url), stream_reader(calls[1], scene.url)
    replay(whole, streamed)
    if streamed.texts:
        note(
            f"First text after {ms(streamed.first)} instead of {ms(whole.first)}: with a stream, a reader starts "
            f"{whole.first / streamed.first:.0f}x sooner. The end comes at about the same time."
        )


def show_openai(scene: Scene) -> None:
    heading("OpenAI's own client")
    if importlib.util.find_spec("openai") is None:
        return note("the openai package is not installed, so this part is left out: pip install openai")
    import openai

    show(Text(inspect.getsource(openai_client.ask).rstrip(), style="cyan"), "")
    start, first, flow = time.perf_counter(), 0.0, Flow()
    for text in openai_client.ask(scene.url, scene.model, scene.message, scene.max_tokens):
        first = first or (time.perf_counter() - start if text else 0.0)
        flow.write(text)
    flow.end()
    return note(
        f"openai {openai.__version__}: first text after {ms(first)} (the client's own start included), "
        f"the end after {ms(time.perf_counter() - start)}."
    )


def show_wire(scene: Scene) -> None:
    heading("What went over the wire")
    options = {"include_usage": True}
    body = scene.chat(max_tokens=min(3, scene.max_tokens), stream=True, stream_options=options)
    call = Call("/v1/chat/completions", body)
    type_out(call.typed(scene.url))
    first: dict[str, object] = {}

    def show_chunk(seconds: float, line: str) -> None:
        """The first chunk whole, of the others what is new."""
        chunk = payload(line)
        flow = Flow(indent=WIRE_INDENT)
        if line:
            write(f"{ms(seconds):>{WIRE_INDENT - 2}}  ", style="bright_black")
            flow.column = WIRE_INDENT
        flow.write(line if chunk is None or not first else f"data: {changes(chunk, first)}")
        flow.end()
        if not line:
            show("")
        first.update(first or chunk or {})

    arrivals = curl(call, scene.url, show_chunk)
    chunks = [chunk for _, line in arrivals.lines if (chunk := payload(line))]
    text = "".join(map(text_of, chunks))
    sent = sum(len(line.encode()) + 1 for _, line in arrivals.lines)
    note(
        f"{len(chunks)} chunks, each a `data:` line and an empty one, then [DONE]: {sent:,} bytes for "
        f"{len(text.encode())} bytes of text."
    )


def show_hang_up(scene: Scene) -> None:
    heading("A hang-up frees the engine")
    length = min(LONG, scene.room)
    waits = hangup.compare(scene.url, scene.completion(max_tokens=length, ignore_eos=True))
    rows = [
        ["reads to the end", ms(waits.behind_a_reader)],
        [f"hangs up after {hangup.BEFORE} chunks", ms(waits.behind_a_hang_up)],
    ]
    table(
        f"A one-token request that arrives after a stream of {length} tokens",
        ["the first client", "the second gets its answer after"],
        rows,
    )
    note("One request at a time: the second waits for the first. With no reader left, the engine stops.")


def show_errors(scene: Scene) -> None:
    heading("Three mistakes")
    for body in (
        scene.completion() | {"model": "gpt-5"},
        scene.completion(temperature=0.7),
        scene.completion(max_tokens=scene.room + 1),
    ):
        ask(scene, Call("/v1/completions", body, status=True))
    note(
        "OpenAI's shape: `message` says what is possible, `param` names the field. A client shows it as its own exception."
    )


def show_stop(server: LiveServer) -> None:
    heading("Ctrl-C")
    seconds = server.stop()
    note(f"The server stopped in {ms(seconds)}, exit code {server.exit_code}.")


PARTS: dict[str, Callable[[Scene], None]] = {
    "readers": show_readers,
    "openai": show_openai,
    "wire": show_wire,
    "hang-up": show_hang_up,
    "errors": show_errors,
}


def keep(server: LiveServer) -> int:
    """Serves until Ctrl-C, which is a good end."""
    heading("Serving")
    write(server.banner, end="\n")
    try:
        return server.process.wait()
    except KeyboardInterrupt:
        server.stop()
        write(end="\n")
        return server.exit_code or 0


def ask(scene: Scene, call: Call) -> Arrivals:
    """Shows a command and the JSON it prints, with spaces after commas and lines that fit."""
    type_out(call.typed(scene.url))
    return curl(call, scene.url, show_json)


def show_json(seconds: float, line: str) -> None:
    value, end = json.JSONDecoder().raw_decode(line)
    flow = Flow()
    flow.write(json.dumps(value, ensure_ascii=False) + line[end:])
    flow.end()
    note(f"-> {ms(seconds)}")
    show("")


def type_out(command: str) -> None:
    write("$ ", style="bright_black")
    write(command, end="\n", style="bold cyan")


def ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.1f} ms"


if __name__ == "__main__":
    sys.exit(run(main))
