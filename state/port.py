"""The one door for external effects.

Whatever changes or reads the world outside this process (a drive-table write, a page from a source,
a file rename, a COMMIT) runs inside `with port("kind.effect"):`. In production the door does nothing.
The crash tests put a door there that records the names of a run and then, in a new process, kills it
before or after each of them, or drops the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Port = Callable[[str], AbstractContextManager[None]]


def direct(_name: str) -> AbstractContextManager[None]:
    """The door that does nothing; a name is `kind.effect`, for example `loader.merge.commit`."""
    return nullcontext()
