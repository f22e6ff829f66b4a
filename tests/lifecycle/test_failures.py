"""How often an attempt may end alike, whom else that stops, and what becomes of a failure that is not stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from service.app import opened
from service.events import LookFailed, RunFailed
from service.phases import STEPS
from state.errors import ConfigurationError, PermanentError, SluicewayError, TransientError, Unreachable
from state.model import Phase, RunStatus, Window
from state.port import Port
from state.sqlite import SqliteDrive
from tests.lifecycle.test_daemon import enrol, finished, serving
from tests.lifecycle.test_daemon import world as pipeline
from tests.lifecycle.world import HOUR, START, World, events

MERGE = "loader.merge.receipt"
NEVER = "0 0 1 1 *"
"""A schedule whose next tick does not come in a test."""


def one_window(root) -> World:
    made = World(root, {"windows": {"end": (START + HOUR).isoformat()}})
    made.write("day", events(60))
    return made


def refusing(effect: str, *errors: SluicewayError) -> tuple[Port, list[SluicewayError]]:
    """A door where `effect` fails with these errors, one after the other; those that are left."""
    left = list(errors)

    @contextmanager
    def port(name: str) -> Iterator[None]:
        if name == effect and left:
            raise left.pop(0)
        yield

    return port, left


def bounded(code: str, at_most: int | None = 2) -> TransientError:
    return TransientError(f"it ended by {code}", code=code, at_most=at_most)


def until_settled(world: World, port: Port):
    """Run again and again, as cron does, until the run is done or waits for an operator."""
    for _ in range(20):
        world.run(port)
        [run] = world.runs()
        if not run.unfinished or run.quarantined_at is not None:
            return run
    raise AssertionError("the run never settles")


@pytest.mark.parametrize("at_most", [2, 3])
def test_an_error_of_bounded_attempts_is_met_so_often_and_not_once_more(tmp_path, at_most):
    """§12.2: a statement's timeout is permanent after 2, an unknown code after 3; none is tried again in place."""
    world = one_window(tmp_path)
    port, left = refusing(MERGE, *(bounded("slow", at_most) for _ in range(9)))
    run = until_settled(world, port)
    assert (9 - len(left), run.attempts, run.failure.in_a_row) == (at_most, at_most, at_most)
    assert (run.status, run.failure.code, run.quarantined_at is None) == (RunStatus.FAILED, "slow", False)


def test_attempts_are_counted_by_their_code_in_a_row(tmp_path):
    world = one_window(tmp_path)
    port, left = refusing(MERGE, *(bounded(code) for code in ("slow", "other", "slow", "other")))
    run = until_settled(world, port)
    assert (run.status, run.attempts, left) == (RunStatus.COMPLETED, 5, [])


def test_no_window_is_given_up_while_nobody_is_let_in_and_what_fails_afterwards_is_counted_anew(
    tmp_path,
):
    """Case 52, G-14: an outage is longer than any number of attempts; a poison window is found all the same."""
    world = World(
        tmp_path,
        {
            "windows": {"end": (START + HOUR).isoformat()},
            "limits": {"attempts_per_error_class": 3, "tries_per_phase": 1},
        },
    )
    world.write("day", events(60))
    away, poison = Unreachable("refused", code="connection"), TransientError("cut off", code="connection")
    port, left = refusing(MERGE, *[away] * 7, *[poison] * 3)
    while left:
        world.run(port)
        [run] = world.runs()
        assert run.quarantined_at is None or not left
    assert run.quarantined_at is not None
    assert run.strikes == 3
    assert run.failure.kind == "transient"


def test_a_windows_run_that_another_worker_ended_meanwhile_is_not_opened_again_g10(tmp_path):
    """Between B's look and its write A loads the first window: B leaves it alone, and opens what A left."""
    world = World(tmp_path, {})
    world.write("day", events(120))
    second = World(tmp_path, {"limits": {"spool_directory": f"{tmp_path}/spool2"}})

    async def go():
        await SqliteDrive.init(tmp_path / "drive.sqlite")
        async with opened(world.config, ignore) as a, opened(second.config, ignore) as b:
            create, by_a = b.drive.create, []

            async def late(*given):
                if not by_a:
                    by_a.extend(await a.run_due(Window(START, START + HOUR)))
                return await create(*given)

            b.drive.create = late
            return by_a, await b.run_due()

    by_a, by_b = asyncio.run(go())
    names = ["events_20251115_00h_run1", "events_20251115_01h_run1"]
    assert [[run.name for run in runs] for runs in (by_a, by_b)] == [names[:1], names[1:]]
    assert [(run.name, run.status) for run in world.runs()] == [(name, RunStatus.COMPLETED) for name in names]
    assert sorted(world.receipts()) == names


def ignore(_event: object) -> None:
    """Nobody listens."""


def test_a_failure_that_the_drive_table_does_not_take_is_told_with_the_runs_own(tmp_path):
    world = one_window(tmp_path)
    denied = ConfigurationError("UPDATE is denied", hint="Grant UPDATE.", code="1142")
    broken, _ = refusing(MERGE, PermanentError("a row is damaged"))
    closed, _ = refusing("drive.fail", denied)

    @contextmanager
    def port(name: str) -> Iterator[None]:
        with closed(name), broken(name):
            yield

    with pytest.raises(ConfigurationError) as caught:
        world.run(port)
    assert caught.value.message == (
        "UPDATE is denied; the end of events_20251115_00h_run1 could not be stored: in stage_to_target_transfer,"
        " a row is damaged"
    )
    assert caught.value.hint == "Grant UPDATE."
    [run] = world.runs()
    assert run.status is RunStatus.RUNNING


def test_a_failure_is_stored_although_the_drive_table_is_busy_for_a_moment(tmp_path):
    world = one_window(tmp_path)
    busy, left = refusing("drive.fail", TransientError("locked"), TransientError("locked"))
    broken, _ = refusing(MERGE, PermanentError("a row is damaged"))

    @contextmanager
    def port(name: str) -> Iterator[None]:
        with busy(name), broken(name):
            yield

    [run] = world.run(port)
    assert (run.status, run.failure.message, left) == (RunStatus.FAILED, "a row is damaged", [])


def first_time(step: Callable, error: SluicewayError) -> tuple[Callable, list]:
    """`step` that fails the first time; how often it was begun."""
    begun: list[None] = []

    async def failing(bench):
        begun.append(None)
        if len(begun) == 1:
            raise error
        return await step(bench)

    return failing, begun


def test_a_daemon_takes_up_a_run_whose_failure_could_not_be_stored_when_its_lease_is_over(tmp_path, monkeypatch):
    """It is no defect: it is told, the process lives, and no tick is needed."""
    one = pipeline(tmp_path, "one", windows={"schedule": NEVER}, limits={"lease_seconds": 1.0})
    enrol(tmp_path, one)
    fail, refused = SqliteDrive.fail, []

    async def denied(self, *given, **more):
        if not refused:
            refused.append(None)
            raise ConfigurationError("UPDATE is denied", hint="Grant UPDATE.")
        return await fail(self, *given, **more)

    monkeypatch.setattr(SqliteDrive, "fail", denied)
    failing, begun = first_time(STEPS[Phase.PRE_VALIDATION], PermanentError("a row is damaged"))
    monkeypatch.setitem(STEPS, Phase.PRE_VALIDATION, failing)

    async def go():
        async with serving(tmp_path) as (_daemon, heard, task):
            await heard.until(finished(2))
            [told] = heard.of(LookFailed)
            assert "UPDATE is denied; the end of one_20251115_00h_run1 could not be stored" in told.message
            assert not task.done()

    asyncio.run(go())
    assert len(begun) == 3


def test_a_daemon_begins_no_other_run_until_the_next_tick_after_one_that_ended_by_a_setting(tmp_path, monkeypatch):
    one = pipeline(tmp_path, "one", windows={"schedule": NEVER})
    enrol(tmp_path, one)
    suspended = ConfigurationError("the warehouse is suspended", code="no_warehouse")
    failing, begun = first_time(STEPS[Phase.PRE_VALIDATION], suspended)
    monkeypatch.setitem(STEPS, Phase.PRE_VALIDATION, failing)

    async def go():
        async with serving(tmp_path) as (daemon, heard, _task):
            await heard.until(lambda all_: all_.of(RunFailed))
            attendant = daemon.pipelines["one"].attendant
            await asyncio.gather(*attendant._walkers)
            assert len(begun) == 1
            attendant.tick()
            await heard.until(finished(1))

    asyncio.run(go())
    assert [run.status for run in one.runs()] == [RunStatus.FAILED, RunStatus.COMPLETED]
