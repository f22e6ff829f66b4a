"""Who may do what: bearer tokens from files or variables, two roles, and a limit on guessing (X-1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec

from state.errors import ConfigurationError
from state.settings import Secret

MOST_FAILURES, WITHIN_SECONDS = 10, 60.0
"""Wrong tokens of one address, and the span they are counted in; then it is told to wait."""
MOST_ADDRESSES = 10_000
READ_AGAIN_SECONDS = 5.0
"""A rotated token counts after this long."""


class Role(IntEnum):
    """What a token allows; the higher includes the lower."""

    READ = 1
    OPERATE = 2


class Holder(msgspec.Struct, frozen=True):
    """Who holds a token: the name of its file or variable, never the token."""

    name: str
    role: Role


class Tokens:
    """The tokens of the settings, read anew from time to time. Kept and compared as digests of one length."""

    def __init__(
        self, read: Sequence[Secret], operate: Sequence[Secret], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._secrets = [*((s, Role.READ) for s in read), *((s, Role.OPERATE) for s in operate)]
        self._clock = clock
        self._read_at: float | None = None
        self._digests: list[tuple[bytes, Holder]] = []

    @property
    def any(self) -> bool:
        """Whether somebody could have one."""
        return bool(self._secrets)

    def holder(self, authorization: str) -> Holder | None:
        """Who an `Authorization` header belongs to: `Bearer TOKEN`, or `Basic` with the token as password, which a
        browser asks for. All digests are compared, whichever fits."""
        given = hashlib.sha256(_token(authorization).encode(errors="surrogateescape")).digest()
        found = None
        for digest, holder in self._current():
            if hmac.compare_digest(digest, given):
                found = holder if found is None or holder.role > found.role else found
        return found

    def _current(self) -> list[tuple[bytes, Holder]]:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= READ_AGAIN_SECONDS:
            self._digests = [entry for secret, role in self._secrets for entry in _digest(secret, role)]
            self._read_at = now
        return self._digests


def _digest(secret: Secret, role: Role) -> list[tuple[bytes, Holder]]:
    """Nothing for a secret that cannot be read now: nobody has it."""
    name = secret.env if secret.env is not None else str(secret.file and secret.file.stem)
    try:
        return [(hashlib.sha256(secret.read().encode()).digest(), Holder(name, role))]
    except ConfigurationError:
        return []


def _token(authorization: str) -> str:
    kind, _, rest = authorization.partition(" ")
    if kind.lower() == "bearer":
        return rest.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


class Guesses:
    """Wrong tokens by address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds that this address must wait; 0 if it may try."""
        recent = self._recent(address)
        return max(recent[0] + WITHIN_SECONDS - self._clock(), 0.0) if len(recent) >= MOST_FAILURES else 0.0

    def failed(self, address: str) -> None:
        """A wrong token came from there."""
        self._failures[address] = [*self._recent(address), self._clock()][-MOST_FAILURES:]
        self._failures.move_to_end(address)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - WITHIN_SECONDS
        return [at for at in self._failures.get(address, []) if at > since]
