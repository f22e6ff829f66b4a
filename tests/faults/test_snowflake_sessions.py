"""Sessions that end and keys that change while runs go on into Snowflake (§12.1, rows 43 and 44).

A session that is over inside the merge leaves its transaction open, which holds the fence until Snowflake ends it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.app import opened
from service.events import Event, PhaseStarted, RunFailed
from state.model import Phase, RunStatus
from tests.faults.test_snowflake_runs import world_of
from tests.lifecycle.snowflake_world import DRIVES, SnowflakeWorld, once_at, require_whole, until_done, world_at
from tests.lifecycle.world import events
from tests.snowflake.accounts import settings
from tests.snowflake.keys import key
from tests.snowflake.running import Place

MOST_ROTATIONS = 4
"""Each slot twice, and fewer than the attempts after which a run is quarantined: all may hit the same one."""


@pytest.fixture(autouse=True)
def impatient(place: Place, monkeypatch):
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (1, 20))
    with settings(place, idle_seconds=0.5):
        yield


def expire(place: Place, code: int) -> int:
    """All sessions of the world's user are over; how many there were."""
    user = f"U_{place.database}"
    mine = [one["id"] for one in place.server.get("/test/sessions") if one["user"] == user]
    for session in mine:
        place.server.post("/test/expire", {"session": session, "code": str(code)})
    return len(mine)


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("code", [390111, 390112, 390114])
def test_43_a_session_that_expires_at_every_phase_edge_costs_no_run(
    place: Place, tmp_path: Path, code: int, drive: str
):
    world, edges = world_of(place, tmp_path, drive=drive), {}

    def hear(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            edges[event.phase] = expire(place, code)

    [run] = world.run(emit=hear)
    assert run.status is RunStatus.COMPLETED, run.failure
    assert run.attempts == 1
    assert list(edges) == [phase for phase in Phase if phase is not Phase.TARGET_CLEANING]
    assert sum(edges.values()) >= 4
    require_whole(world)


@pytest.mark.parametrize("code", [390111, 390112, 390114])
@pytest.mark.parametrize("effect", ["loader.merge.fence", "loader.merge.write", "loader.merge.commit"])
def test_43_a_session_that_expires_inside_the_merge_costs_no_row(
    place: Place, tmp_path: Path, code: int, effect: str
):
    world = world_of(place, tmp_path)
    run = until_done(world, once_at(effect, lambda: expire(place, code)))
    assert run.status is RunStatus.COMPLETED, run.failure
    require_whole(world)


class Rotation:
    """An operator who rotates the keys of the world's user: into the free slot, then the file, then the old one
    goes, and all sessions with it."""

    def __init__(self, place: Place, file: Path) -> None:
        self.place, self.file, self.turn = place, file, 0
        self.user_has(rsa_public_key=key("key0").public, rsa_public_key_2=None)
        file.write_text(key("key0").private)

    def user_has(self, **properties: str | None) -> None:
        self.place.server.put(f"/test/users/U_{self.place.database}", properties)

    def rotate(self) -> None:
        slots = ["rsa_public_key", "rsa_public_key_2"]
        old, new = slots[self.turn % 2], slots[(self.turn + 1) % 2]
        self.turn += 1
        self.user_has(**{new: key(f"key{self.turn}").public})
        self.file.write_text(key(f"key{self.turn}").private)
        self.user_has(**{old: None})
        expire(self.place, 390114)


def keyed(place: Place, root: Path, file: Path) -> SnowflakeWorld:
    """Twelve windows, three at a time, by key pair."""
    connection = {"password": None, "allow_password": False, "private_key": {"file": str(file)}}
    wanted = {
        "windows": {"width": "10m", "max_open": 3},
        "limits": {"tries_per_phase": 20},
        "snowflake_connection": connection,
    }
    return world_at(place, root, wanted)


async def rotating(rotation: Rotation, done: asyncio.Event) -> None:
    """So many rotations as fit into the work, but not so fast that no statement comes to its end."""
    while not done.is_set() and rotation.turn < MOST_ROTATIONS:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(rotation.rotate)


def test_44_keys_are_rotated_in_both_slots_while_windows_are_loaded_and_none_fails(place: Place, tmp_path: Path):
    file = tmp_path / "key.p8"
    rotation = Rotation(place, file)
    world = keyed(place, tmp_path, file)
    world.write("day", events(100))
    heard: list[Event] = []

    async def go() -> None:
        done = asyncio.Event()
        rotations = asyncio.create_task(rotating(rotation, done))
        try:
            async with opened(world.config, heard.append) as worker:
                await worker.run_due()
        finally:
            done.set()
            await rotations

    asyncio.run(go())
    assert rotation.turn >= 2  # each slot was emptied once
    failures = [event.failure for event in heard if isinstance(event, RunFailed)]
    assert {failure.kind for failure in failures} <= {"transient", "restart", "unknown_outcome"}
    until_done(world)  # one that lost its session inside the merge may wait for its next attempt
    assert len(world.runs()) == 12
    require_whole(world)
