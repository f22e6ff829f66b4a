"""How each pipeline stands, from what the daemon knows without asking: the overview sends no statement."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from service.daemon.attendant import Attendant
from service.daemon.daemon import Attended
from service.daemon.standing import Standing
from service.ledger import Fate, fate
from state.model import Run, RunStatus, Window
from state.windows import Tiling, floor, start_of

STRIP = 48
"""Windows of a pipeline on the overview."""


class State(StrEnum):
    """What somebody who looks after pipelines wants to know first; the worst that is true, in this order."""

    FAILING = "failing"
    QUARANTINED = "quarantined"
    PAUSED = "paused"
    LATE = "late"  # loaded, but later than its configuration allows
    STARTING = "starting"
    WELL = "well"


class Row(msgspec.Struct, frozen=True):
    """A pipeline on the overview. `behind`: closed time that is not loaded yet; None: nothing is known."""

    name: str
    state: State
    cause: str
    hint: str
    loaded_until: datetime | None
    closed_until: datetime | None
    behind: timedelta | None
    unfinished: int
    quarantined: int
    walking: int
    looked: float | None
    """Seconds since the last look that went well."""
    strip: tuple[Fate, ...]
    paused: bool

    @property
    def strip_says(self) -> str:
        """The strip in words."""
        counts = Counter(self.strip)
        said = ", ".join(f"{counts[one]} {one.value}" for one in Fate if counts[one])
        return f"the last {len(self.strip)} windows: {said}" if said else "no window is closed yet"


def row(one: Attended) -> Row:
    """A pipeline as it stands."""
    attendant = one.attendant
    standing = attendant.standing if attendant else None
    closed = attendant.looked.closed_until if attendant and attendant.looked else None
    unfinished = standing.unfinished if standing else []
    loaded = loaded_until(standing, closed) if standing and closed else None
    tiling = one.config.windows.tiling()
    state, cause, hint = stated(one, unfinished, loaded)
    return Row(
        name=one.name,
        state=state,
        cause=cause,
        hint=hint,
        loaded_until=loaded,
        closed_until=closed,
        behind=behind(tiling, closed, loaded) if closed else None,
        unfinished=len(unfinished),
        quarantined=sum(run.quarantined_at is not None for run in unfinished),
        walking=attendant.walking if attendant else 0,
        looked=since_look(attendant),
        strip=strip(tiling, standing, unfinished, closed) if standing and closed else (),
        paused=attendant is not None and attendant.paused,
    )


def loaded_until(standing: Standing, closed: datetime) -> datetime | None:
    """As it is now: runs may have ended since the last look."""
    return standing.loaded_until(standing.due(closed, 1))


def stated(one: Attended, unfinished: Sequence[Run], loaded: datetime | None) -> tuple[State, str, str]:
    """The state with its cause and what to do, both empty where there is nothing to say."""
    if (trouble := one.trouble) is not None:
        return State.FAILING, trouble.message, trouble.hint
    failed = [run for run in unfinished if run.status is RunStatus.FAILED]
    held = [run for run in failed if run.quarantined_at is not None]
    for runs, state in ((held, State.QUARANTINED), (failed, State.FAILING)):
        if runs and (failure := runs[-1].failure) is not None:
            return state, failure.message, failure.hint
    attendant = one.attendant
    if attendant is not None and attendant.paused:
        return State.PAUSED, "No windows are opened and no runs begun.", ""
    if attendant is None or attendant.looked is None:
        return State.STARTING, "", ""
    if is_late(one, attendant, loaded):
        return State.LATE, "Its freshness is missed.", ""
    return State.WELL, "", ""


def with_failures(found: Row, quarantined: Sequence[bool]) -> Row:
    """The same, worse where the drive table tells of failures (`quarantined` or not): others may work here."""
    worst = State.QUARANTINED if any(quarantined) else State.FAILING
    better = list(State).index(found.state) > list(State).index(worst)
    return msgspec.structs.replace(found, state=worst) if quarantined and better else found


def is_late(one: Attended, attendant: Attendant, loaded: datetime | None) -> bool:
    """Loaded later than `windows.freshness_seconds` allows."""
    allowed, now = one.config.windows.freshness_seconds, attendant.source_now
    if allowed is None or now is None:
        return False
    return now - (loaded or one.config.windows.start) > timedelta(seconds=allowed)


def behind(tiling: Tiling, closed_until: datetime, loaded_until: datetime | None) -> timedelta:
    """The closed windows that are not loaded, end to end."""
    loaded = max(loaded_until or tiling.start, tiling.start)
    return max(floor(tiling, max(closed_until, tiling.start)) - loaded, timedelta(0))


def since_look(attendant: Attendant | None) -> float | None:
    looked_at = attendant.health.looked_at if attendant else None
    return None if looked_at is None else time.monotonic() - looked_at


def last_windows(tiling: Tiling, closed_until: datetime, count: int) -> list[Window]:
    """The last `count` windows of the schedule that end at or before `closed_until`, oldest first."""
    edge, found = floor(tiling, max(closed_until, tiling.start)), list[Window]()
    while edge > tiling.start and len(found) < count:
        start = floor(tiling, edge - timedelta(microseconds=1))
        found.append(Window(start, edge))
        edge = start
    return found[::-1]


def strip(tiling: Tiling, standing: Standing, unfinished: Sequence[Run], closed: datetime) -> tuple[Fate, ...]:
    """What became of the last windows; skipped ones count as loaded: only the drive table tells them apart."""
    return tuple(seen(window, standing, unfinished) for window in last_windows(tiling, closed, STRIP))


def seen(window: Window, standing: Standing, unfinished: Sequence[Run]) -> Fate:
    """`unfinished` is in order of windows, and none overlaps another."""
    place = bisect_left(unfinished, window.end, key=lambda run: start_of(run.window))
    if place and unfinished[place - 1].window.overlaps(window):
        return fate(unfinished[place - 1])
    return Fate.LOADED if standing.has_run(window) else Fate.MISSING
