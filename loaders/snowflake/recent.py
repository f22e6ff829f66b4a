"""What a process remembers for a while, and may forget."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """At most `most` values by name; the oldest is forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, T] = OrderedDict()

    def __setitem__(self, name: str, value: T) -> None:
        self._values[name] = value
        self._values.move_to_end(name)
        while len(self._values) > self._most:
            self._values.popitem(last=False)

    def get(self, name: str) -> T | None:
        return self._values.get(name)

    def forget(self, name: str) -> None:
        self._values.pop(name, None)
