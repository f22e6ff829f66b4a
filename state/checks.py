"""What a look at a source, a stage or a target found: the lines of `sluiceway doctor`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from state.errors import ConfigurationError, SluicewayError


@dataclass(frozen=True)
class Check:
    """One question and its answer. `hint` says what to do when `ok` is False."""

    name: str
    ok: bool
    found: str
    hint: str = ""


Look = Callable[[], Awaitable[Check]]


async def up_to_the_first_error(looks: Sequence[tuple[str, Look]]) -> list[Check]:
    """The answers in order; an error is the last one, so that a wrong password is offered to a server once."""
    found: list[Check] = []
    for name, look in looks:
        try:
            found.append(await look())
        except SluicewayError as error:
            path = error.path if isinstance(error, ConfigurationError) else ""
            found.append(Check(path or name, False, error.message, error.hint))
            break
    return found
