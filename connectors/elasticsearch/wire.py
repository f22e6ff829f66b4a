"""Whether answers are asked for compressed: it costs both sides CPU time, and pays where the network is slow.

Where answers travel slowly, compression is tried; it stays if the documents came faster. They may have travelled
slowly because a processor was busy, and then it makes things worse.
"""

from __future__ import annotations

from typing import Literal

_SLOW = 10 << 20
"""Bytes per second below which it is tried: servers compress some 50 MiB of JSON a second and core, to a fifth."""
_TELLING = 16 << 20
"""Bytes of documents that a judgement needs."""
_PAYS = 1.2
"""How many times the bytes of documents per second compression must bring."""
_INSTANT = 0.001
"""Seconds; what servers and clocks tell apart."""


class Wire:
    """How fast answers come, and travel once they are made. `compressed`: whether to ask for gzip."""

    def __init__(self, compression: bool | Literal["auto"]) -> None:
        self.compressed = compression is True
        self._looks = compression == "auto"
        self._plain = 0.0
        """Bytes of documents per second before compression was tried."""
        self._begin()

    def came(self, size: int, seconds: float, made_in: float, *, compressed: bool) -> None:
        """An answer of `size` bytes, not compressed, came within `seconds`; the server made it in `made_in`."""
        if not self._looks or compressed is not self.compressed:
            return  # what was asked for before a change tells nothing of it
        self._bytes += size
        self._seconds += max(seconds, _INSTANT)
        self._travelled += max(seconds - made_in, _INSTANT)
        if self._bytes >= _TELLING:
            self._judge(self._bytes / self._seconds, self._bytes / self._travelled)
            self._begin()

    def _judge(self, rate: float, travel: float) -> None:
        if self.compressed:
            self.compressed = rate >= self._plain * _PAYS
            self._looks = False
        elif travel < _SLOW:
            self._plain = rate
            self.compressed = True

    def _begin(self) -> None:
        self._bytes = 0
        self._seconds = 0.0
        self._travelled = 0.0
