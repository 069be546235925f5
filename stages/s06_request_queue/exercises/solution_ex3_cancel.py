"""Solution of exercise 3."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class Waiting:
    def __init__(self, most: int):
        self.most = most
        self.requests: OrderedDict[str, Any] = OrderedDict()  # a hash table over a doubly linked list

    def push(self, request_id: str, request: Any) -> bool:
        if request_id in self.requests:
            raise KeyError(request_id)
        if len(self.requests) >= self.most:
            return False
        self.requests[request_id] = request
        return True

    def pop(self) -> Any:
        if not self.requests:
            raise IndexError("none is waiting")
        return self.requests.popitem(last=False)[1]

    def cancel(self, request_id: str) -> Any:
        return self.requests.pop(request_id, None)

    def place(self, request_id: str) -> int | None:
        if request_id not in self.requests:
            return None
        return list(self.requests).index(request_id)

    def __len__(self) -> int:
        return len(self.requests)
