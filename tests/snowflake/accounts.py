"""What tests of the test server share: faults, settings of the account, errors, and who holds which lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from snowflake.connector import errors

LOOK = 0.02


@contextmanager
def fault(place: Any, act: str, **rule: Any) -> Iterator[Callable[[], dict[str, Any]]]:
    """A rule of `server/faults.py` for this place's sessions; calling what it gives tells what it `matched`."""
    added = place.server.post("/test/faults", {"act": act, "database": place.database, **rule})
    try:
        yield lambda: place.server.get(f"/test/faults/{added['id']}")
    finally:
        place.server.delete(f"/test/faults/{added['id']}")


@contextmanager
def settings(place: Any, **wanted: Any) -> Iterator[None]:
    """Settings of the account (`server/desk.py`) for as long as the context lasts."""
    before = place.server.get("/test/settings")
    place.server.put("/test/settings", wanted)
    try:
        yield
    finally:
        place.server.put("/test/settings", {name: before[name] for name in wanted})


async def until(true: Callable[[], Any], seconds: float = 20) -> Any:
    """What `true()` gives as soon as it is true."""
    async with asyncio.timeout(seconds):
        while not (found := true()):  # noqa: ASYNC110 - it is another process that is looked at
            await asyncio.sleep(LOOK)
        return found


async def fails(statement: Any) -> errors.Error:
    """The error of a statement that must fail."""
    with pytest.raises(errors.Error) as caught:
        await statement
    return caught.value


def locks(place: Any, table: str) -> list[dict[str, Any]]:
    """Who holds a table of this place, and who waits for it."""
    return place.server.get(f"/test/locks?table={place.database}.{place.schema}.{table}")


def waiting(place: Any, table: str, count: int = 1) -> Callable[[], bool]:
    """Whether so many statements wait for the table."""
    return lambda: sum(one["status"] == "WAITING" for one in locks(place, table)) == count
