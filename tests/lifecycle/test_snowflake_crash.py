"""A process killed at any of its effects between a search server and Snowflake: nothing is lost, nothing is twice
(G-2, G-8).

As in `test_crash.py` the points come from a recorded run, one of each scenario of `snowflake_scenarios.py`. Each
kind of effect is tried once per moment; the soak test tries every one. What a killed worker was doing in Snowflake
goes on without it: its transaction stays open and holds the fence until the server ends it, for it is idle and
somebody waits.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from state.model import Phase, PhaseStatus, RunStatus
from tests.contract.test_loader_snowflake_statements import DDL
from tests.lifecycle.effects import effects_in
from tests.lifecycle.ports import Moment, Point, recorder
from tests.lifecycle.processes import exit_code
from tests.lifecycle.snowflake_scenarios import (
    LOGIN,
    NOT_CRASHED,
    PITS,
    SCENARIOS,
    Scenario,
    archive_of,
    patient,
    staged_of,
)
from tests.lifecycle.snowflake_world import DRIVES, SnowflakeWorld
from tests.lifecycle.world import HOUR, START, merged
from tests.servers.search import ES8, SearchServer
from tests.snowflake.accounts import settings
from tests.snowflake.running import Place, SnowflakeServer

ROOT = Path(__file__).parents[2]
LOCAL = ("source.", "spool.")
NEXT = (".fence", ".settle", "loader.copy.load", "loader.clean.table", "loader.sweep.table")
"""Effects with nothing between them and the one before: before the one is after the other."""

Expected = tuple[str, list[str]]


@dataclass(frozen=True)
class Ground:
    """Where a scenario is played: on fresh databases of one server, fresh indices of another."""

    scenario: Scenario
    server: SnowflakeServer
    search: SearchServer
    base: Path
    drive: str = "sqlite"

    def __str__(self) -> str:
        return f"Snowflake, {self.scenario.name}, drive {self.drive}"

    def world(self, folder: str) -> SnowflakeWorld:
        return self.scenario.world(self.server, self.base / folder, self.drive, self.search)


def some_points(times: Counter[str], scenario: Scenario, drive: str = "sqlite") -> list[Point]:
    """Each kind of effect once per moment: the first, the last, and one between. With the drive table in Snowflake
    those that the kind of drive table makes a difference to."""
    names = [name for name in sorted(scenario.effects) if drive == "sqlite" or matters(name)]
    return [Point(name, occurrence(times, name, moment), moment) for name in names for moment in moments(name)]


def moments(name: str) -> list[Moment]:
    """What only reads, or stays on this machine, is tried when it has happened; where something stays open, or the
    next question hangs on its answer, with that lost too. What may be made again is not tried before that."""
    if name.startswith(LOCAL) and name not in PITS:
        return [Moment.AFTER]
    if name in PITS or name.startswith("loader.prepare") or name.endswith(NEXT):
        return [Moment.AFTER, Moment.ANSWER_LOST]
    return [*Moment]


def matters(name: str) -> bool:
    """Writes of the drive table, and what it follows: fence, merge and sessions."""
    return name.startswith(("drive.", "loader.fence", "loader.merge.commit", LOGIN))


def occurrence(times: Counter[str], name: str, moment: Moment) -> int:
    middle = (times[name] + 1) // 2
    last = middle if name == LOGIN else times[name]  # how often is a matter of luck: calls share sessions
    return {Moment.BEFORE: 1, Moment.AFTER: last, Moment.ANSWER_LOST: middle}[moment]


def attempt(world: SnowflakeWorld, patience: float, point: Point | None) -> None:
    """Body of a worker process."""
    patient(patience)
    runs = world.run() if point is None else world.run(point.trap())
    wrong = [run for run in runs if not run.unfinished and run.status is not RunStatus.COMPLETED]
    assert not wrong, [(run.name, run.failure) for run in wrong]


def no_fault(ground: Ground) -> tuple[Counter[str], Expected]:
    """How often each effect of a run without fault happens, and what it leaves: content hash and receipts."""
    world, log = ground.world("without-fault"), ground.base / "effects"
    assert exit_code(recorded, world, ground.scenario.patience, log, seconds=120) == 0
    expected = (world.content_hash(), sorted(world.receipts()))
    assert [run.status for run in world.runs()] == [RunStatus.COMPLETED] * ground.scenario.windows
    assert len(expected[1]) == ground.scenario.windows
    assert unkept(world) == ""
    require_discipline(ground, world)
    times = Counter(log.read_text().split())
    assert ground.scenario.effects <= set(times), f"never happened: {ground.scenario.effects - set(times)}"
    return times, expected


def require_discipline(ground: Ground, world: SnowflakeWorld) -> None:
    """No statement in a transaction defines anything (G-3), and a tag holds names and numbers of runs alone
    (N-4)."""
    said = [one for one in ground.server.get("/test/statements") if one["user"] == world.user and one["tag"]]
    inside = {one["text"].split()[0] for one in said if one["transaction"]}
    assert "COMMIT" in inside or ground.scenario.name == "no rows"
    assert not inside & set(DDL)
    runs = world.runs()
    known = {"app": {"sluiceway"}, "pipeline": {"events"}, "phase": {*Phase, "drive_table"}}
    known |= {"run": {run.name for run in runs}, "window": {str(run.window) for run in runs}}
    known |= {"attempt": set(range(1, 1 + max(run.token for run in runs)))}
    tags = [json.loads(one["tag"]) for one in said]
    assert [(key, tag[key]) for tag in tags for key in tag if tag[key] not in known.get(key, ())] == []


def recorded(world: SnowflakeWorld, patience: float, log: Path) -> None:
    """Body of a worker process that writes down what it does."""
    patient(patience)
    world.run(recorder(log))


def survives(ground: Ground, point: Point, expected: Expected) -> str:
    """Kill at `point` and restart: with an empty spool, as on another machine, or with what was left in it if the
    kill came after the effect. What is wrong afterwards, or an empty text."""
    world = ground.world(point.folder)
    code = exit_code(attempt, world, ground.scenario.patience, point, seconds=120)
    if point.moment is not Moment.ANSWER_LOST and code != -9 and point.name != LOGIN:
        return f"{point}: was not killed, exit {code}"
    if point.moment is not Moment.AFTER:
        shutil.rmtree(world.root / "spool", ignore_errors=True)
    again = exit_code(attempt, world, ground.scenario.patience, None, seconds=120)
    unfinished = [f"{run.name} {run.status}" for run in world.runs() if run.status is not RunStatus.COMPLETED]
    if again != 0 or unfinished:
        return f"{point}: exit {code}, then {again}, and the drive table says {unfinished}"
    found = (world.content_hash(), sorted(world.receipts()))
    left, lost = world.left_in_stage() + left_in_spool(world), unkept(world)
    if left and ground.scenario.swept_later:
        left = left_after_another_window(world)
    shutil.rmtree(world.root)
    if found != expected:
        return f"{point}: exit {code}; receipts {found[1]}; same rows: {found[0] == expected[0]}"
    return f"{point}: left over in stage or spool: {left}; {lost}" if left or lost else ""


def left_in_spool(world: SnowflakeWorld) -> list[str]:
    found = [path for path in (world.root / "spool").rglob("*") if path.is_file()]
    return [path.name for path in found if path.name != ".lock"]


def left_after_another_window(world: SnowflakeWorld) -> list[str]:
    """What another process leaves in the stage: each looks for leftovers with the first run that it does."""
    end = {"windows": {"end": (START + 3 * HOUR).isoformat()}}
    assert exit_code(attempt, replace(world, settings=merged(world.settings, end)), 60, None, seconds=120) == 0
    return world.left_in_stage()


def unkept(world: SnowflakeWorld) -> str:
    """What is wrong with the clean-up of the runs and with the archive, if there is one; empty if nothing is."""
    cleaning = [
        (run.name, phase, record)
        for run in world.runs()
        for phase, record in run.phases.items()
        if phase in (Phase.STAGE_CLEANING, Phase.TARGET_CLEANING) and record.status is PhaseStatus.FAILED
    ]
    if cleaning:
        return f"clean-up failed: {cleaning}"
    archived = "archive" in world.settings["phases"].get("stage_cleaning", {})
    return "" if not archived or archive_of(world) == staged_of(world) else "the archive is not what was staged"


def wrong_at(todo: list[Point], tried: Callable[[Point], str]) -> list[str]:
    """What is wrong after a crash at each of `todo`; empty if nothing is."""
    with ThreadPoolExecutor(3) as pool:
        return [text for text in pool.map(tried, todo) if text]


CASES = [(name, "sqlite") for name in SCENARIOS] + [("a run", "snowflake")]


@pytest.fixture
def ground(request, place: Place, server: SearchServer, tmp_path: Path) -> Ground:
    name, drive = request.param
    return Ground(SCENARIOS[name], place.server, server, tmp_path, drive)


@pytest.mark.parametrize("ground", CASES, indirect=True, ids=" ".join)
@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_killed_at_any_kind_of_effect_the_target_equals_the_run_without_fault(
    place: Place, ground: Ground, capsys
):
    with settings(place, idle_seconds=ground.scenario.idle):
        times, expected = no_fault(ground)
        todo = some_points(times, ground.scenario, ground.drive)
        wrong = wrong_at(todo, lambda point: survives(ground, point, expected))
    with capsys.disabled():
        print(f"\n{ground}: {len(todo)} crash points of {times.total()} effects, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


def test_every_effect_of_the_loader_and_of_sessions_has_a_crash_case_or_a_reason_why_not():
    """An effect that somebody adds fails here until a scenario has it."""
    tried = {name for scenario in SCENARIOS.values() for name in scenario.effects}
    written = effects_in(ROOT / "loaders" / "snowflake") | effects_in(ROOT / "state" / "snowflake")
    known = tried | NOT_CRASHED.keys()
    assert sorted(written - known) == []
    assert sorted(NOT_CRASHED.keys() - written) == []
    assert sorted(tried & NOT_CRASHED.keys()) == []


@pytest.mark.parametrize("drive", DRIVES)
def test_points_are_of_every_kind_and_moment(drive: str):
    scenario = SCENARIOS["a run"]
    points = some_points(Counter({name: 3 for name in scenario.effects}), scenario, drive)
    assert {(point.name, point.moment) for point in points if point.name == "loader.merge.commit"} == {
        ("loader.merge.commit", moment) for moment in Moment
    }
    if drive == "sqlite":
        assert {point.name for point in points} == scenario.effects
