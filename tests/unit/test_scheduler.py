"""Ticks: explicit settings, events that are counted, times as crontab(5) has them (S-1 to S-4; case 12)."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from apscheduler.events import JobSubmissionEvent
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from service import scheduler as module
from service.cron import check_cron
from service.events import TickNoted
from service.scheduler import MOST_MISSED, Scheduler, trigger

DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@pytest.fixture
async def heard():
    return []


@pytest.fixture
async def scheduler(heard):
    made = Scheduler(heard.append)
    made.start()
    yield made
    made.close()


async def until(true) -> None:
    while not true():  # noqa: ASYNC110 - events come as plain calls
        await asyncio.sleep(0.01)


def every(monkeypatch, seconds: float) -> None:
    """Lines of cron stand for an interval."""
    monkeypatch.setattr(module, "trigger", lambda _cron: IntervalTrigger(seconds=seconds, timezone=UTC))


def test_apscheduler_is_the_release_that_ends_at_a_clock_change_and_no_4():
    """S-1."""
    found = tuple(map(int, version("apscheduler").split(".")[:3]))
    assert (3, 11, 2) <= found < (4,)
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert re.search(r"apscheduler>=3\.11\.2,<4", text)


async def test_every_setting_is_explicit_and_nothing_is_kept_but_in_memory(scheduler):
    """S-2, S-3."""
    scheduler.every("p", "* * * * *", lambda: None)
    inner = scheduler._scheduler
    [job] = inner.get_jobs()
    assert (job.misfire_grace_time, job.coalesce, job.max_instances) == (None, True, 1)
    assert job.trigger.timezone == UTC and inner.timezone == UTC
    assert [type(store) for store in inner._jobstores.values()] == [MemoryJobStore]


async def test_a_loop_that_was_blocked_counts_what_it_missed_and_ticks_once_for_all_of_it(
    scheduler, heard, monkeypatch
):
    """S-3, S-4, case 12: late ticks are one look, never dropped, and those that became one are counted."""
    every(monkeypatch, 0.2)
    ticks, came = [], asyncio.Event()

    def tick() -> None:
        ticks.append(time.monotonic())
        came.set()

    scheduler.every("p", "* * * * *", tick)
    await came.wait()
    del ticks[:], heard[:]
    time.sleep(1.1)  # noqa: ASYNC251 - it is the point
    came.clear()
    await came.wait()
    assert len(ticks) == 1
    assert Counter(heard)[TickNoted("p", "missed")] >= 4


async def test_a_machine_that_slept_for_long_is_awake_at_once(scheduler, heard):
    scheduler.every("p", "* * * * *", lambda: None)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for at in (now - timedelta(days=60), now):
        scheduler._count(JobSubmissionEvent(0, "p", "default", [at]))
    assert heard == [TickNoted("p", "missed")] * MOST_MISSED


class FiveYearsLater(datetime):
    """The wall clock after a sleep that timers did not count."""

    @classmethod
    def now(cls, tz=None) -> datetime:
        return datetime.now(tz) + timedelta(days=5 * 366)


async def test_a_tick_whose_time_came_while_the_machine_slept_comes_when_the_clock_is_looked_at(
    scheduler, monkeypatch
):
    """S-3: the timer of the event loop would be as much too late."""
    ticks: list[int] = []
    scheduler.every("p", "* * 29 2 *", lambda: ticks.append(1))
    monkeypatch.setattr("apscheduler.schedulers.base.datetime", FiveYearsLater)
    scheduler.catch_up()
    await until(lambda: ticks)


async def test_a_tick_that_fails_is_counted_and_the_next_one_comes(scheduler, heard, monkeypatch):
    """S-4."""
    every(monkeypatch, 0.05)
    again, times = asyncio.Event(), 0

    def tick() -> None:
        nonlocal times
        times += 1
        if times == 1:
            raise ValueError("a defect")
        again.set()

    scheduler.every("p", "* * * * *", tick)
    await again.wait()
    assert TickNoted("p", "failed") in heard


async def test_a_tick_that_is_not_over_at_the_next_one_is_counted(scheduler, heard, monkeypatch):
    """S-4: our ticks only wake somebody and are over at once; were one not, it would be told."""
    every(monkeypatch, 0.05)
    over = asyncio.Event()

    async def slow(_tick) -> None:
        await over.wait()

    monkeypatch.setattr(module, "_called", slow)
    scheduler.every("p", "* * * * *", lambda: None)
    await until(lambda: TickNoted("p", "overlapping") in heard)
    over.set()


async def test_a_tick_that_apscheduler_gave_up_is_counted(scheduler, heard):
    """S-4: with `misfire_grace_time=None` none is; one that has a grace shows that the listener hears of it."""
    long_ago = datetime.now(UTC) - timedelta(minutes=1)

    async def never() -> None:
        raise AssertionError

    scheduler._scheduler.add_job(never, DateTrigger(long_ago, UTC), id="p", misfire_grace_time=1)
    await until(lambda: TickNoted("p", "missed") in heard)


async def test_what_is_forgotten_or_replaced_ticks_no_more(scheduler, monkeypatch):
    every(monkeypatch, 0.02)
    ticks: Counter[str] = Counter()

    def of(name: str):
        return lambda: ticks.update([name])

    scheduler.every("p", "* * * * *", of("old"))
    scheduler.every("p", "* * * * *", of("new"))
    scheduler.every("q", "* * * * *", of("forgotten"))
    scheduler.forget("q")
    scheduler.forget("nobody")
    await until(lambda: ticks["new"] >= 3)
    assert set(ticks) == {"new"}


def times(cron: str, since: datetime, count: int) -> list[datetime]:
    found, made, at = [], trigger(cron), since
    for _ in range(count):
        at = made.get_next_fire_time(at, at)
        if at is None:
            break
        found.append(at)
    return found


FIRST = datetime(2026, 2, 28, 23, 58, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "wanted"),
    [
        ("0 6 * * 0", ["03-01", "03-08"]),  # a Sunday; APScheduler's 0 is Monday
        ("0 6 * * 7", ["03-01", "03-08"]),
        ("0 6 * * 1-5", ["03-02", "03-03"]),
        ("0 6 * * mon,FRI", ["03-02", "03-06"]),
        ("0 6 13 * 5", ["03-06", "03-13"]),  # the 13th, or a Friday
        ("0 6 13,14 * sat", ["03-07", "03-13", "03-14", "03-21"]),
        ("0 6 */10 * 5", ["05-01", "07-31"]),  # with a star, both
        ("0 6 1 jan-dec/2 *", ["03-01", "05-01"]),
        ("0 6 31 * *", ["03-31", "05-31"]),
        ("0 6 29 2 *", ["02-29"]),
    ],
)
def test_days_are_those_of_crontab(cron, wanted):
    found = times(check_cron(cron), FIRST, len(wanted))
    assert [f"{at:%m-%d}" for at in found] == wanted
    assert all((at.hour, at.minute) == (6, 0) for at in found)


def field(low: int, high: int, names: list[str] = []) -> st.SearchStrategy[str]:  # noqa: B006 - read only
    value = st.integers(low, high)
    spelled = value.map(lambda n: names[n - low] if names and n - low < len(names) else str(n))
    span = st.tuples(value, value).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, high)).map(lambda both: f"{both[0]}/{both[1]}")
    return st.lists(st.one_of(st.just("*"), spelled, span, step), min_size=1, max_size=3).map(",".join)


MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
CRONS = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), field(0, 7, DAYS)).map(" ".join)


def matches(text: str, value: int, low: int, high: int, names: list[str]) -> bool:
    """Whether a field names a value, by a second reading of crontab(5)."""

    def number(word: str) -> int:
        return names.index(word) + low if word in names else int(word)

    for item in text.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        start = low if span == "*" else number(first)
        end = high if span == "*" else number(last or first)
        if value in range(start, end + 1, int(step or 1)):
            return True
    return False


def is_time(cron: str, at: datetime) -> bool:
    minute, hour, day, month, weekday = cron.split()
    of_month = matches(day, at.day, 1, 31, [])
    today = at.isoweekday() % 7
    of_week = any(matches(weekday, n, 0, 7, DAYS) for n in ({0, 7} if today == 0 else {today}))
    both = day.startswith("*") or weekday.startswith("*")
    return (
        matches(minute, at.minute, 0, 59, [])
        and matches(hour, at.hour, 0, 23, [])
        and matches(month, at.month, 1, 12, MONTHS)
        and (of_month and of_week if both else of_month or of_week)
    )


@settings(max_examples=60)
@given(cron=CRONS, minutes=st.integers(0, 500_000))
def test_whatever_line_a_configuration_may_have_ticks_when_cron_would(cron, minutes):
    """Each line that `check_cron` takes has a trigger, and its next time is the first that the fields name."""
    check_cron(cron)
    since = FIRST + timedelta(minutes=minutes)
    found = times(cron, since, 1)
    at = since + timedelta(minutes=1)
    for _ in range(3000):
        if is_time(cron, at):
            assert found == [at]
            return
        at += timedelta(minutes=1)
    assert not found or found[0] >= at
