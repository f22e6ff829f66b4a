"""Sessions that end and keys that change while runs go on from a search server into Snowflake (§12.1, 43 and 44).

A session that is over inside the merge leaves its transaction open, which holds the fence until Snowflake ends it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from service.app import opened
from service.events import Event, PhaseStarted, RunFailed
from state.model import Phase, PhaseStatus, RunStatus
from tests.lifecycle.snowflake_world import DRIVES, SnowflakeWorld, once_at, require_whole, until_done, world_at
from tests.lifecycle.world import START, events
from tests.servers.search import ES8, SearchServer
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


pytestmark = pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)


def searched(
    place: Place, root: Path, server: SearchServer, drive: str = "sqlite", width: str = "2h", **more: dict
) -> SnowflakeWorld:
    """Rows in an index; one window, unless something else is said."""
    world = world_at(place, root, {"windows": {"width": width}, **more}, drive, server)
    world.write("day", events(100))
    return world


def expire(place: Place, code: int) -> int:
    """All sessions of the world's user are over; how many of them were alive until now."""
    user = f"U_{place.database}"
    mine = [one["id"] for one in place.server.get("/test/sessions") if one["user"] == user]
    told = [place.server.post("/test/expire", {"session": session, "code": str(code)}) for session in mine]
    return sum(len(one["alive"]) for one in told)


PHASES = [*Phase]
EDGES = [PHASES[1::2], PHASES[::2], PHASES]
"""The phases before which sessions end, window by window: where one was ended just before, none may be alive."""


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("code", [390111, 390112, 390114])
def test_43_a_session_that_expires_at_every_phase_edge_costs_no_run(
    place: Place, tmp_path: Path, server: SearchServer, code: int, drive: str
):
    retention = {"phases": {"target_cleaning": {"enabled": True, "retention": "36500d", "dry_run": False}}}
    world = searched(place, tmp_path, server, drive, width="40m", **retention)
    alive: dict[tuple[int, Phase], int] = {}

    def hear(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            window = (event.run.window.start - START) // timedelta(minutes=40)
            edge = (window, event.phase)
            if event.phase in EDGES[window] and edge not in alive:
                alive[edge] = expire(place, code)

    world.run(emit=hear)
    attempts = [run.attempts for run in sorted(world.runs(), key=lambda run: run.window)]
    assert attempts[:2] == [1, 1]
    assert attempts[2] <= 3  # what the session that raises the fence was told before it was over, is not known
    assert [alive[window, phase] > 0 for window in (0, 1) for phase in EDGES[window]] == [True] * len(PHASES), (
        alive
    )
    assert [phase for window, phase in alive if window == 2] == PHASES
    ended = {(phase, record.status) for run in world.runs() for phase, record in run.phases.items()}
    assert ended == {(phase, PhaseStatus.COMPLETED) for phase in PHASES}  # no clean-up has failed unnoticed
    require_whole(world)


@pytest.mark.parametrize("code", [390111, 390112, 390114])
@pytest.mark.parametrize("effect", ["loader.merge.fence", "loader.merge.write", "loader.merge.commit"])
def test_43_a_session_that_expires_inside_the_merge_costs_no_row(
    place: Place, tmp_path: Path, server: SearchServer, code: int, effect: str
):
    world, hit = searched(place, tmp_path, server), []
    run = until_done(world, once_at(effect, lambda: hit.append(expire(place, code))))
    assert hit[0] >= 1
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


def keyed(place: Place, root: Path, server: SearchServer, file: Path) -> SnowflakeWorld:
    """Twelve windows, three at a time, by key pair."""
    connection = {"password": None, "allow_password": False, "private_key": {"file": str(file)}}
    wanted = {
        "windows": {"width": "10m", "max_open": 3},
        "limits": {"tries_per_phase": 20},
        "snowflake_connection": connection,
    }
    return world_at(place, root, wanted, server=server)


async def rotating(rotation: Rotation, done: asyncio.Event) -> None:
    """So many rotations as fit into the work, but not so fast that no statement comes to its end."""
    while not done.is_set() and rotation.turn < MOST_ROTATIONS:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(rotation.rotate)


def test_44_keys_are_rotated_in_both_slots_while_windows_are_loaded_and_each_is_loaded_once(
    place: Place, tmp_path: Path, server: SearchServer
):
    """An attempt that had no session any more to end its merge with is followed by another one of the same run;
    none is given up for its key, and none waits for an operator."""
    file = tmp_path / "key.p8"
    rotation = Rotation(place, file)
    world = keyed(place, tmp_path, server, file)
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
    until_done(world)
    runs = world.runs()
    assert [(run.status, run.quarantined_at) for run in runs] == [(RunStatus.COMPLETED, None)] * 12
    assert len(failures) == sum(run.attempts - 1 for run in runs)
    require_whole(world)
