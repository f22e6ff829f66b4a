"""How many requests at a time pay, learnt from what they took.

More requests bring more bytes per second until the server, the wire or this process is busy; from then on each
only takes longer. So one more is tried as long as it pays, one less after a step that did not, half as many when
the server refuses or is suddenly slow.
"""

from __future__ import annotations

_START = 2
"""Requests at a time while nothing is known: the second one is worked on while the first one's answer travels."""
_ROUND = 4
"""Answers per request at a time that a judgement needs."""
_PAYS = 1.05
"""How many times the bytes per second of before a step up must bring."""
_COLLAPSED = 0.5
"""A rate below this share of the usual one means that the server has other work."""
_FORGETS = 0.98
"""What the usual rate keeps per round: a cluster may be slower for good."""
_PATIENCE = 25
"""Rounds until a step up is tried again, after one that did not pay or a refusal."""
_SOON = 5
"""The same after the server was slow for a while."""


class Pace:
    """`level`: requests at a time that pay, as far as is known; 1 at least."""

    def __init__(self) -> None:
        self.level = _START
        self._usual = 0.0
        self._below: float | None = None
        """Bytes per second before the last step, if that was one up."""
        self._patience = 0
        self._forget()

    def came(self, size: int, seconds: float, at_once: int, most: int) -> None:
        """An answer of `size` bytes took `seconds`, as one of `at_once` requests; there may be `most`.

        Where fewer requests were made than might have been, nothing is learnt.
        """
        level = min(self.level, most)
        if at_once < level:
            return
        self._answers += 1
        self._bytes += size
        self._seconds += seconds
        if self._answers >= _ROUND * level:
            rate = level * self._bytes / max(self._seconds, 1e-9)
            self._forget()
            self._judge(rate, most)

    def refused(self) -> None:
        """The server has too much to do."""
        self._halve(_PATIENCE)
        self._forget()

    def _judge(self, rate: float, most: int) -> None:
        below, self._below = self._below, None
        usual, self._usual = self._usual, max(rate, self._usual * _FORGETS)
        if rate < usual * _COLLAPSED:
            self._halve(_SOON)
            self._usual = rate
        elif below is not None and rate < below * _PAYS:
            self.level = max(1, self.level - 1)
            self._patience = _PATIENCE
        elif self._patience:
            self._patience -= 1
        elif self.level < most:
            self._below = rate
            self.level += 1

    def _halve(self, patience: int) -> None:
        self.level = max(1, self.level // 2)
        self._below = None
        self._patience = patience

    def _forget(self) -> None:
        self._answers = 0
        self._bytes = 0
        self._seconds = 0.0
