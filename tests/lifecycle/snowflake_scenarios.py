"""What workers are killed at in Snowflake: runs that between them have every effect that the loader knows.

Every scenario names the effects that crash cases are taken of in it, and a run without fault must have them all.
`NOT_CRASHED` names those that no scenario has, with the reason; an effect of the loader that is in neither fails
`test_snowflake_crash.py`.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import loaders.snowflake.detached
from state.model import RunStatus
from tests.lifecycle.ports import Moment, trap_at
from tests.lifecycle.processes import exit_code
from tests.lifecycle.snowflake_world import SnowflakeWorld, world_at
from tests.lifecycle.world import HOUR, START, events, merged
from tests.servers.search import SearchServer
from tests.snowflake.running import SnowflakeServer

LOGIN = "snowflake.login"
PITS = frozenset({"source.open_pit", "source.page", "source.close_pit", "source.plan"})
SOURCE = PITS | {
    "source.clock",
    "source.count",
    "source.live_count",
    "source.mapping",
    "source.probe",
    "source.product",
    "source.settings",
}
RUN = SOURCE | {
    LOGIN,
    "spool.rename",
    "drive.create",
    "drive.adopt",
    "drive.claim",
    "drive.checkpoint",
    "loader.prepare.ledger",
    "loader.prepare.fence",
    "loader.prepare.stage",
    "loader.prepare.create",
    "loader.prepare.empty",
    "loader.fence.claim",
    "loader.put.upload",
    "loader.copy.create",
    "loader.copy.load",
    "loader.merge.begin",
    "loader.merge.fence",
    "loader.merge.write",
    "loader.merge.receipt",
    "loader.merge.commit",
    "loader.merge.settle",
    "loader.clean.files",
    "loader.clean.table",
}
"""The effects of a run with rows in merge mode."""

RETIRED = frozenset(f"loader.retire.{step}" for step in ("begin", "fence", "delete", "commit", "settle"))

NOT_CRASHED = {
    "loader.prepare.lock": "a type change: tests/contract/test_loader_snowflake_races.py cuts it off at each step",
    "loader.prepare.alter": "the same",
    "loader.prepare.fill": "the same",
    "drive.renew": "tests/contract/test_drive_processes.py kills a process before each statement of a drive table",
    "drive.fail": "the same",
    "drive.release": "tests/contract/test_drive_snowflake_statements.py loses the answers of all writes",
    "drive.record": "the same",
    "drive.reopen": "the same",
    "snowflake.clock": "asks a clock after a login that was refused, and changes nothing",
}

Settings = Callable[[SnowflakeWorld], dict[str, Any]]


def nothing(_world: SnowflakeWorld) -> None:
    """Nothing is done before the worker starts."""


@dataclass(frozen=True)
class Scenario:
    """`effects`: those that crash cases are taken of. `settings`: over the world's, from the world. `before`: what
    is done before the worker starts that is killed. `searched`: the source is an index, or else files. `patience`:
    seconds that the fence is waited for before it is looked who holds it. `idle`: seconds after which the server
    ends a transaction that somebody waits for. `swept_later`: what is left is for the next process to sweep."""

    name: str
    effects: frozenset[str]
    settings: Settings = lambda _world: {}
    before: Callable[[SnowflakeWorld], None] = nothing
    rows: int = 100
    windows: int = 1
    searched: bool = True
    swept_later: bool = False
    patience: float = 60
    idle: float = 0.5

    def world(self, server: SnowflakeServer, root: Path, drive: str, search: SearchServer) -> SnowflakeWorld:
        """A fresh world, ready for the worker; its source is an index if `searched`."""
        place = server.place()
        phases = {"source_to_stage_transfer": {"rows_per_part": 60, "chunk_rows": 40}}
        base = {"windows": {"width": f"{120 // self.windows}m"}, "phases": phases}
        world = world_at(place, root, base, drive, search if self.searched else None)
        world = replace(world, settings=merged(base, self.settings(world)))
        if self.rows:
            world.write("day", events(self.rows))
        self.before(world)
        return world


def archive_of(world: SnowflakeWorld) -> dict[str, str]:
    """SHA-256 of what is kept in the world's archive, by name."""
    root = world.root / "archive"
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def staged_of(world: SnowflakeWorld) -> dict[str, str]:
    """The same of the chunks of all runs."""
    return {chunk.name: chunk.sha256 for run in world.runs() for chunk in run.manifest.chunks}


# Append mode, an archive that is a stage over files of its own, and rows that leave the target.


def everything(world: SnowflakeWorld) -> dict[str, Any]:
    """Of two windows the first is too old when the second is there."""
    keeping = {"enabled": True, "retention": "1h", "max_percent": 70, "dry_run": False}
    return {
        "target_system": {"mode": "append", "key": [], "version": "read_at"},
        "phases": {
            "stage_cleaning": {"archive": f"@{world.schema}.KEPT"},
            "target_cleaning": keeping,
        },
    }


def with_external_stage(world: SnowflakeWorld) -> None:
    (world.root / "archive").mkdir(parents=True)
    world.execute(f"CREATE STAGE KEPT URL = 'file://{world.root}/archive/'")


# Rows that a policy sets aside: every second value is no whole number.


def with_policy(_world: SnowflakeWorld) -> dict[str, Any]:
    return {"source_system": {"columns": {"types": {"value": "long"}, "on_bad_value": {"value": "quarantine"}}}}


# What a worker that is believed dead left.


def with_leftovers(world: SnowflakeWorld) -> None:
    """The first window is loaded and cleaned up; then a file and a table of its run come late."""
    first = replace(world, settings=merged(world.settings, {"windows": {"end": (START + HOUR).isoformat()}}))
    [run] = first.run()
    assert run.status is RunStatus.COMPLETED
    late = world.root / "late.parquet"
    late.write_bytes(b"late")
    where = f"@SLUICEWAY/{run.id.pipeline}/{run.id.hash}/"
    world.execute(f"PUT 'file://{late}' '{where}' AUTO_COMPRESS = FALSE")
    world.execute(f"CREATE TABLE EVENTS_STAGE_{run.id.hash.upper()}_A1 (ID VARCHAR)")
    assert len(world.left_in_stage()) == 2


# Rows that a function of the user's brings.


def brought(_config: Mapping[str, Any], _record: Mapping[str, Any]) -> dict[str, Any]:
    """A user's function: its table is filled before it is called."""
    return {"transfer_completed": True, "stage_count": 100}


def by_function(world: SnowflakeWorld) -> dict[str, Any]:
    function = {"function": f"{__name__}:{brought.__name__}"}
    return {
        "stage_system": {"table": f"{world.schema}.EVENTS_STAGE"},
        "phases": {"source_to_stage_transfer": function, "stage_cleaning": {"allow_unproven": True}},
    }


def with_user_stage(world: SnowflakeWorld) -> None:
    world.execute(
        "CREATE TABLE EVENTS_STAGE AS SELECT 'e' || LPAD(SEQ::VARCHAR, 3, '0') AS ID,"
        f" DATEADD(second, SEQ, '{START.isoformat()}'::TIMESTAMP_LTZ) AS AT, 1::NUMBER(38,0) AS VERSION,"
        " SEQ::FLOAT AS VALUE FROM (SELECT ROW_NUMBER() OVER (ORDER BY 1) AS SEQ FROM"
        " TABLE(GENERATOR(ROWCOUNT => 100)))"
    )


# A merge that its worker left open.


def merging(world: SnowflakeWorld) -> None:
    """Body of a worker process that dies in the middle of its merge."""
    world.run(trap_at("loader.merge.write", 1, Moment.AFTER))


def with_open_merge(world: SnowflakeWorld) -> None:
    assert exit_code(merging, world) == -signal.SIGKILL


def patient(seconds: float) -> None:
    """This process, a child, waits so long for the fence before it looks who holds it."""
    loaders.snowflake.detached.PATIENCE_SECONDS = seconds


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("a run", RUN),
        Scenario(
            "append, archive, retention",
            RETIRED | {"loader.merge.delete", "loader.merge.insert", "loader.archive.copy"},
            everything,
            with_external_stage,
            rows=120,
            windows=2,
        ),
        Scenario("rows set aside", frozenset({"loader.merge.make", "loader.merge.quarantine"}), with_policy),
        Scenario("no rows", frozenset({"loader.merge.empty"}), rows=0),
        Scenario(
            "an archive in a folder",
            frozenset({"loader.archive.get", "loader.archive.write", "loader.archive.rename"}),
            lambda world: {"phases": {"stage_cleaning": {"archive": f"{world.root}/archive"}}},
        ),
        Scenario(
            "leftovers",
            frozenset({"loader.sweep.file", "loader.sweep.table"}),
            before=with_leftovers,
            rows=120,
            windows=2,
            swept_later=True,
        ),
        Scenario(
            "a function of the user's",
            frozenset({"loader.adopt.load"}),
            by_function,
            with_user_stage,
            searched=False,
        ),
        Scenario(
            "an open merge",
            frozenset({"loader.fence.abort"}),
            before=with_open_merge,
            patience=0.2,
            idle=30,
        ),
    )
}
