"""Several processes on one drive table: they race (G-10, tokens, no lost update), and they die.

On every backend that processes may share: a SQLite file, a database of a real MariaDB, a schema of the Snowflake
test server.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest

from state.model import Run, RunKind, RunStatus
from state.windows import overlaps
from tests.contract.drive_desk import LEASE, T0, new
from tests.contract.drive_places import Place, mysql_place, snowflake_place, sqlite_place
from tests.contract.drive_racer import ATTEMPTS, CREATED, counted

RACERS = 5
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "mariadb", "snowflake"])
def fresh(request, tmp_path):
    """Makes a fresh drive table of the backend."""
    if request.param == "sqlite":
        yield lambda: sqlite_place(tmp_path)
    elif request.param == "mariadb":
        server = request.getfixturevalue("mariadb")
        yield lambda: mysql_place(server)
    else:
        server = request.getfixturevalue("snowflake_server")
        before = server.get("/test/settings")["idle_seconds"]
        server.put("/test/settings", {"idle_seconds": 1})  # of a transaction that nobody ends; five minutes there
        yield lambda: snowflake_place(server)
        server.put("/test/settings", {"idle_seconds": before})


@pytest.fixture
async def place(fresh):
    return await fresh()


def raced(role: str, place: Place, tmp_path: Path) -> list[list[dict]]:
    """The logs of racers that started together; every one of them came to its end."""
    logs = [tmp_path / f"racer{number}" for number in range(RACERS)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.contract.drive_racer", role, str(place), str(log), str(seed)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, log in enumerate(logs)
    ]
    try:
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * RACERS
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        assert [racer.wait(timeout=120) for racer in racers] == [0] * RACERS
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    return [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]


async def stored(place: Place) -> list[Run]:
    async with aclosing(await place.open()) as drive:
        return await drive.runs()


async def test_racing_workers_own_a_run_once_per_token_and_lose_no_update(place, tmp_path):
    async with aclosing(await place.open()) as drive:
        await drive.create("p", "x", [new(hour) for hour in range(place.windows)])
    logs = await asyncio.to_thread(raced, "work", place, tmp_path)
    told = [line for log in logs for line in log]
    claims = [line for line in told if line["event"] == "claim"]
    for log in logs:
        own = [line["token"] for line in log if line["event"] == "claim"]
        assert all(a < b for a, b in pairwise(own))
    assert sorted(claim["token"] for claim in claims) == list(range(1, len(claims) + 1))
    assert Counter(line["run"] for line in told if line["event"] == "completed") == Counter(
        run.name for run in await stored(place)
    )
    checkpoints = Counter(line["run"] for line in told if line["event"] == "checkpoint")
    attempts = Counter(claim["run"] for claim in claims)
    for run in await stored(place):
        assert run.status is RunStatus.COMPLETED
        assert run.attempts == attempts[run.name] >= ATTEMPTS
        assert counted(run) == checkpoints[run.name]
    assert any(line["event"] == "lost" for line in told), "no lease was lost: the race did not show what it is for"


async def test_racing_creators_make_no_overlap_g10(place, tmp_path):
    logs = await asyncio.to_thread(raced, "create", place, tmp_path)
    told = [line for log in logs for line in log]
    runs = await stored(place)
    assert overlaps([run.window for run in runs]) == []
    assert {run.kind for run in runs} == {RunKind.SCHEDULED}
    created = [name for line in told if line["event"] == "created" for name in line["runs"]]
    assert sorted(created) == sorted(run.name for run in runs)
    assert len(told) == RACERS * CREATED // 2
    assert {line["code"] for line in told if line["event"] == "refused"} <= {"unfinished", "tiling"}
    assert any(line["event"] == "refused" for line in told)


def victim(place: Place, fatal: int) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tests.contract.drive_victim", str(place), str(fatal)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def shape(runs: list[Run], token: int) -> tuple:
    """What of the table a killed process may have left, apart from its own name."""
    rows = [
        (run.id.number, run.window, run.status, run.token, run.attempts, run.manifest.digest, run.failure)
        for run in runs
    ]
    return tuple(rows), token


async def look(place: Place) -> tuple:
    return shape(await stored(place), await asyncio.to_thread(place.token))


async def states_of_a_whole_life(place: Place) -> list[tuple]:
    """The shapes after each write, seen by doing them in this process."""
    from tests.contract import drive_victim

    async with aclosing(await place.open(clock=lambda: T0)) as drive:
        shapes = [await look(place)]
        async for _ in drive_victim.steps(drive):
            shapes.append(await look(place))
    return shapes


async def test_a_process_killed_at_any_statement_leaves_a_whole_table(fresh):
    """Each statement of each write once: what is found is the state before that write or after it."""
    allowed = await states_of_a_whole_life(await fresh())
    whole = await fresh()
    lived = await asyncio.to_thread(victim, whole, 0)
    statements = int(lived.stdout)
    assert await look(whole) == allowed[-1]
    assert statements > 3 * 6, "every write is at least BEGIN, a statement and COMMIT"
    at_once = asyncio.Semaphore(os.cpu_count() or 1)

    async def dies_at(fatal: int) -> int:
        async with at_once:
            one = await fresh()
            died = await asyncio.to_thread(victim, one, fatal)
            assert died.returncode == -signal.SIGKILL
            found = await look(one)
            await goes_on(one, found)
        return allowed.index(found)

    reached = set(await asyncio.gather(*map(dies_at, range(1, statements + 1))))
    before_the_end = {n for n, state in enumerate(allowed[:-1]) if state not in allowed[:n]}
    looks_after_commit = reached - before_the_end  # Snowflake is asked once more whether it committed
    assert before_the_end <= reached
    assert looks_after_commit <= {len(allowed) - 1}


async def goes_on(place: Place, before: tuple) -> None:
    """The next process finds whatever is left due at once, under a higher token."""
    async with aclosing(await place.open(clock=lambda: T0)) as drive:
        claim = await drive.claim("p", "next", LEASE)
        rows, token = before
        due = [row for row in rows if row[2] in (RunStatus.PENDING, RunStatus.RUNNING)]
        assert (claim is None) == (not due)
        assert claim is None or (claim.token == token + 1 and claim.run.window == due[0][1])
