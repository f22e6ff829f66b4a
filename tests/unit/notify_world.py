"""Runs and events for tests of notifications."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from service.events import Looked, RowsSetAside, RunClaimed, RunFailed, RunFinished
from service.notify.settings import Notifications
from state.model import Failure, Phase, Run, RunId, RunKind, RunStatus, Window, run_name

START = datetime(2025, 11, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = ("failed", "quarantined", "recovered", "audit_mismatch", "freshness_missed", "rows_set_aside")


def window(n: int) -> Window:
    return Window(START + n * HOUR, START + (n + 1) * HOUR)


def run(n: int = 0, number: int = 1, pipeline: str = "flights", **fields: object) -> Run:
    identity = RunId("drive", pipeline, window(n), number)
    name = run_name(pipeline, identity.window, number, scheduled=True)
    made = Run(identity, name, RunKind.SCHEDULED, identity.window.start, START, updated_at=START + 9 * HOUR)
    return msgspec.structs.replace(made, **fields)


def failure(kind: str = "transient", code: str = "429", message: str = "the source is busy") -> Failure:
    return Failure(Phase.SOURCE_TO_STAGE_TRANSFER, kind, code, message, "Wait a little.", START + 8 * HOUR)


def failed(n: int = 0, why: Failure | None = None, number: int = 1, pipeline: str = "flights") -> RunFailed:
    """An attempt that goes on by itself."""
    why = why or failure()
    later = START + 10 * HOUR
    again = run(n, number, pipeline, status=RunStatus.FAILED, failure=why, next_attempt_at=later, strikes=1)
    return RunFailed(again, why)


def quarantined(
    n: int = 0,
    why: Failure | None = None,
    number: int = 1,
    at: datetime = START + 9 * HOUR,
    pipeline: str = "flights",
) -> RunFailed:
    """An attempt after which an operator decides."""
    why = why or failure("permanent", "type", "a value does not fit")
    held = run(n, number, pipeline, status=RunStatus.FAILED, failure=why, quarantined_at=at, strikes=5)
    return RunFailed(held, why)


def finished(n: int = 0, number: int = 1, pipeline: str = "flights") -> RunFinished:
    return RunFinished(run(n, number, pipeline, status=RunStatus.COMPLETED))


def set_aside(n: int = 0, number: int = 1, pipeline: str = "flights") -> RowsSetAside:
    return RowsSetAside(run(n, number, pipeline), 3, 1_000)


def claimed(event: RunFailed, **fields: object) -> RunClaimed:
    """The run of `event` taken again, as its row tells."""
    held = msgspec.structs.replace(event.run, status=RunStatus.RUNNING, next_attempt_at=None, **fields)
    return RunClaimed(held, Phase.SOURCE_TO_STAGE_TRANSFER)


def looked(quarantined: int = 1, unfinished: int = 1, loaded_until: datetime | None = None) -> Looked:
    return Looked("flights", START + 20 * HOUR, loaded_until, None, unfinished, quarantined)


def settings(**fields: object) -> Notifications:
    """Everything is told at once, by Slack."""
    usual: dict[str, object] = {"slack_webhook": {"env": "HOOK"}, "on": ALL, "gather_seconds": 0}
    return Notifications.model_validate(usual | {"spacing_seconds": 0} | fields)
