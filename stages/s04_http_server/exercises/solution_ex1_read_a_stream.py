"""Solution of exercise 1."""

from __future__ import annotations


class EventReader:
    def __init__(self) -> None:
        self.rest = b""  # of a line that has not ended
        self.data: list[str] = []  # of an event that has not ended

    def feed(self, received: bytes) -> list[str]:
        """The data of each event that `received` completes."""
        *lines, self.rest = (self.rest + received).split(b"\n")
        events = []
        for raw in lines:
            line = raw.removesuffix(b"\r").decode()  # whole lines only: no character is cut
            if line:
                self.read(line)
            elif self.data:
                events.append("\n".join(self.data))
                self.data = []
        return events

    def read(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "data":
            self.data.append(value.removeprefix(" "))
