"""Whether answers are asked for compressed: it costs both sides CPU time, and pays where the network is slow."""

from __future__ import annotations

from typing import Literal

_SLOW = 10 << 20
"""Bytes per second below which compression pays: servers compress some 50 MiB of JSON per second and core, to a
fifth."""
_TELLING = 4 << 20
"""Bytes that a judgement needs."""
_INSTANT = 0.001
"""Seconds; what servers and clocks tell apart."""


class Wire:
    """How fast answers travel, once they are made. `compressed`: whether to ask for gzip."""

    def __init__(self, compression: bool | Literal["auto"]) -> None:
        self.compressed = compression is True
        self._looks = compression == "auto"
        self._bytes = 0
        self._seconds = 0.0

    def came(self, size: int, seconds: float) -> None:
        """An answer of `size` bytes travelled for `seconds`."""
        if not self._looks:
            return
        self._bytes += size
        self._seconds += max(seconds, _INSTANT)
        if self._bytes >= _TELLING:
            self.compressed = self._bytes / self._seconds < _SLOW
            self._looks = not self.compressed  # compressed, it tells nothing of the network any more
            self._bytes, self._seconds = 0, 0.0
