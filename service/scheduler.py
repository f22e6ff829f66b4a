"""Ticks: APScheduler tells when to look, never what to do.

Memory store only, for the drive table is the only durable schedule. A tick that comes late still counts, several
that came late are one, and a look that is under way is not begun again: it looks once more when it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Literal

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from service.cron import weekdays
from service.events import Emit, TickNoted

Tick = Callable[[], None]

NOTED: dict[int, Literal["missed", "overlapping", "failed"]] = {
    EVENT_JOB_MISSED: "missed",
    EVENT_JOB_MAX_INSTANCES: "overlapping",
    EVENT_JOB_ERROR: "failed",
}


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

    def start(self) -> None:
        """Begin to tick."""
        self._scheduler.start()

    def every(self, pipeline: str, cron: str, tick: Tick) -> None:
        """Call `tick` at the times of a cron line of five fields, in UTC; in place of what was set before."""
        self._scheduler.add_job(
            _called, trigger(cron), [tick], id=pipeline, name=f"tick {pipeline}", replace_existing=True
        )

    def forget(self, pipeline: str) -> None:
        """No more ticks for this pipeline; harmless if it has none."""
        if self._scheduler.get_job(pipeline) is not None:
            self._scheduler.remove_job(pipeline)

    def pause(self) -> None:
        """No more ticks at all."""
        if self._scheduler.running:
            self._scheduler.pause()

    def close(self) -> None:
        """Stop; nothing that is under way is waited for or cancelled, because a tick does nothing but wake."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _note(self, event: JobEvent) -> None:
        self._emit(TickNoted(event.job_id, NOTED[event.code]))


async def _called(tick: Tick) -> None:
    """In the event loop: a job that is no coroutine would be run in a thread."""
    tick()


def trigger(cron: str) -> BaseTrigger:
    """The times of a cron line, as `crontab(5)` has them: where both a day of the month and a weekday are given,
    either will do. Weekdays go by name: APScheduler counts them from Monday."""
    minute, hour, day, month, weekday = cron.split()
    time = {"minute": minute, "hour": hour, "month": month, "timezone": UTC}
    days = ",".join(weekdays(weekday))
    if day.startswith("*") or weekday.startswith("*"):
        return CronTrigger(**time, day=day, day_of_week=days)
    return OrTrigger([CronTrigger(**time, day=day), CronTrigger(**time, day_of_week=days)])
