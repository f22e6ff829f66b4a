"""What a notification says: the lines that `sluiceway show` gives of a run, under one heading."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from service.events import FreshnessMissed, RowsSetAside
from service.notify.settings import Kind
from service.report import Advice, RunReport, described
from service.views_of_run import advice_rows, told_rows
from state.masking import mask
from state.model import Failure, Run, show_instant

SHOWN = 10
"""Runs named one by one."""
LONGEST = 1500
"""Characters of one line: a server's own words may be long."""

SAID: dict[Kind, str] = {
    "failed": "failed, and is tried again by itself",
    "quarantined": "quarantined, an operator decides",
    "audit_mismatch": "the proof does not hold",
    "freshness_missed": "behind",
    "recovered": "recovered",
    "rows_set_aside": "loaded, but for rows that were set aside",
}


class Account(msgspec.Struct, frozen=True):
    """What is told of one thing, each line with its name. `failure` is None where nothing failed."""

    rows: tuple[tuple[str, str], ...]
    advice: Advice
    failure: Failure | None = None


class Affected(msgspec.Struct, frozen=True):
    """A run by its name, with its window as it is written everywhere."""

    run: str
    window: str


class Notice(msgspec.Struct, frozen=True):
    """One notification. `count` runs are alike, `affected` names the first of them; none where it is about the
    pipeline. `again`: told before, and still so. `id` stays the same when it is sent anew."""

    id: str
    kind: Kind
    pipeline: str
    at: datetime
    again: bool
    count: int
    affected: tuple[Affected, ...]
    account: Account

    @property
    def title(self) -> str:
        """Its heading, in one line."""
        who = f"{self.count:,} runs alike" if self.count > 1 else "".join(one.run for one in self.affected)
        still = "still " if self.again else ""
        return ": ".join(part for part in (self.pipeline, who, f"{still}{SAID[self.kind]}") if part)

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """The lines below the heading."""
        return self.account.rows if self.count <= 1 else (*self.account.rows, ("runs", self._runs()))

    @property
    def text(self) -> str:
        """The lines as plain text, names in a column of their own."""
        width = max(len(name) for name, _ in self.rows) + 2
        return "\n".join(
            f"{name if not place else '':<{width}}{line}"
            for name, value in self.rows
            for place, line in enumerate(value.split("\n"))
        )

    def _runs(self) -> str:
        names = [one.run for one in self.affected]
        more = self.count - len(names)
        return "\n".join([*names, f"and {more:,} more: `sluiceway windows` lists them"] if more else names)


def notice(
    kind: Kind, pipeline: str, account: Account, affected: Sequence[Affected], *, count: int, again: bool
) -> Notice:
    """A new notification, now."""
    shown = tuple(affected[:SHOWN])
    return Notice(uuid.uuid4().hex, kind, pipeline, datetime.now(UTC), again, count, shown, account)


def of_run(run: Run, same_config: str) -> Account:
    """What is told of a run."""
    told: RunReport = described(run, same_config)
    failure = told.failure and msgspec.structs.replace(
        told.failure, message=shown(told.failure.message), hint=shown(told.failure.hint)
    )
    advice = msgspec.structs.replace(told.advice, do=shown(told.advice.do))
    return Account(shortened(told_rows(told)), advice, failure)


def of_rows_set_aside(event: RowsSetAside, same_config: str) -> Account:
    """What is told of a run whose policies set rows aside."""
    run = event.run
    start, end = show_instant(run.window.start), show_instant(run.window.end)
    advice = Advice(
        f"{event.loaded:,} rows are merged and proven; those set aside are whole in the quarantine table.",
        "Mended rows leave it when their window is loaded again.",
        "Look at them in the table that ends with __SLUICEWAY_QUARANTINE, mend the source, then:",
        f"sluiceway backfill --from {start} --to {end}{same_config}",
    )
    what = f"{event.rows:,} rows do not fit their columns, and a policy set them aside"
    where = f"{run.id.pipeline}, window {run.window}"
    return Account(shortened([("what", what), ("where", where), *advice_rows(advice)]), advice)


def of_lateness(event: FreshnessMissed, same_config: str) -> Account:
    """What is told of a pipeline that is behind."""
    until = f"loaded until {show_instant(event.loaded_until)}" if event.loaded_until else "nothing is loaded yet"
    advice = Advice(
        "What is loaded is proven; what is newer is not there yet.",
        "Windows are loaded by themselves, oldest first, as far as nothing holds them up.",
        "To see what is missing, and what waits for an operator:",
        f"sluiceway windows{same_config}",
    )
    what = [("what", f"{event.pipeline} is {lasting(event.behind)} behind: {until}"), ("where", event.pipeline)]
    return Account(shortened([*what, *advice_rows(advice)]), advice)


def of_catching_up(pipeline: str) -> Account:
    """What is told of a pipeline that was behind and is no more."""
    advice = Advice("What is loaded is proven.", "Nothing more to do.")
    return Account((("what", f"{pipeline} has caught up"), *advice_rows(advice)), advice)


def of_receipts(pipeline: str) -> Account:
    """What is told of runs that the target's receipts prove to be merged."""
    advice = Advice("The rows are in the target, once; its receipt says so.", "Nothing more to do.")
    return Account((("where", pipeline), *advice_rows(advice)), advice)


def lasting(span: timedelta) -> str:
    """A span in its two largest units: `3 h 12 min`."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join([f"{value} {unit}" for value, unit in parts if value][:2]) or "0 s"


def shortened(rows: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, shown(value)) for name, value in rows)


def shown(text: str) -> str:
    """`text` as it may leave this machine: without what looks like a secret, and not too long."""
    masked = mask(text)
    return masked if len(masked) <= LONGEST else masked[:LONGEST] + "…"
