"""Ticks: APScheduler tells when to look, never what to do.

Memory store only, for the drive table is the only durable schedule. A tick that comes late still counts, several
that came late are one, and a look that is under way is not begun again: it looks once more when it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_JOB_SUBMITTED,
    JobEvent,
    JobSubmissionEvent,
)
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from service.cron import days, numbers
from service.events import Emit, TickNoted

Tick = Callable[[], None]

NOTED: dict[int, Literal["missed", "overlapping", "failed"]] = {
    EVENT_JOB_MISSED: "missed",
    EVENT_JOB_MAX_INSTANCES: "overlapping",
    EVENT_JOB_ERROR: "failed",
}

MOST_MISSED = 1440
"""So many missed ticks of one pipeline are counted at once: a machine that slept for a month is awake at once."""


class Scheduler:
    """The ticks of all pipelines of a process. `start` needs a running event loop."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._scheduler = AsyncIOScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": AsyncIOExecutor()},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            timezone=UTC,
        )
        self._scheduler.add_listener(self._note, sum(NOTED))
        self._scheduler.add_listener(self._count, EVENT_JOB_SUBMITTED)
        self._next: dict[str, datetime] = {}

    def start(self) -> None:
        """Begin to tick."""
        self._scheduler.start()

    def every(self, pipeline: str, cron: str, tick: Tick) -> None:
        """Call `tick` at the times of a cron line of five fields, in UTC; in place of what was set before."""
        self._next.pop(pipeline, None)
        self._scheduler.add_job(
            _called, trigger(cron), [tick], id=pipeline, name=f"tick {pipeline}", replace_existing=True
        )

    def forget(self, pipeline: str) -> None:
        """No more ticks for this pipeline; harmless if it has none."""
        self._next.pop(pipeline, None)
        if self._scheduler.get_job(pipeline) is not None:
            self._scheduler.remove_job(pipeline)

    def catch_up(self) -> None:
        """Tick if the time has come by the wall clock: timers of the event loop count neither the sleep of a
        machine nor a clock that is set."""
        if self._scheduler.running:
            self._scheduler.wakeup()

    def close(self) -> None:
        """Stop; nothing that is under way is waited for or cancelled, because a tick does nothing but wake."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _note(self, event: JobEvent) -> None:
        self._emit(TickNoted(event.job_id, NOTED[event.code]))

    def _count(self, event: JobSubmissionEvent) -> None:
        """Ticks that came so late that they became one with this: APScheduler does not tell of them."""
        job = self._scheduler.get_job(event.job_id)
        if job is None:
            return
        last: datetime = event.scheduled_run_times[-1]
        due = self._next.get(event.job_id, last)
        for _ in range(MOST_MISSED):
            if due is None or due >= last:
                break
            self._emit(TickNoted(event.job_id, "missed"))
            due = job.trigger.get_next_fire_time(due, due)
        self._next[event.job_id] = job.trigger.get_next_fire_time(last, last)


async def _called(tick: Tick) -> None:
    """In the event loop: a job that is no coroutine would be run in a thread."""
    tick()


def trigger(cron: str) -> BaseTrigger:
    """The times of a cron line, as `crontab(5)` has them: where both a day of the month and a weekday are given,
    either will do. Every value is named: APScheduler counts weekdays from Monday, and refuses steps that cron
    takes.
    """
    minutes, hours, of_month, months = (",".join(map(str, field)) for field in numbers(cron))
    of_week = ",".join(days(cron.split()[4]))
    time = {"minute": minutes, "hour": hours, "month": months, "timezone": UTC}
    if any(cron.split()[field].startswith("*") for field in (2, 4)):
        return CronTrigger(**time, day=of_month, day_of_week=of_week)
    return OrTrigger([CronTrigger(**time, day=of_month), CronTrigger(**time, day_of_week=of_week)])
