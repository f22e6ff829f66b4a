"""What a daemon knows of a pipeline's ledger without asking: windows that have a run, and unfinished runs.

So a look that finds nothing new sends no statement to the drive table: an idle warehouse stays asleep.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from service.newest import newest_due
from service.settings import PipelineConfig
from state.model import Run, RunId, Window
from state.windows import due, floor, start_of

BEYOND = timedelta(days=1)
"""A span that begins at the edge and is open to the future ends this long after the last instant looked at."""


class Standing:
    """Begins with what the drive table holds; every run that this process opens or ends is told to it."""

    def __init__(self, config: PipelineConfig, known: Iterable[Window], unfinished: Iterable[Run]) -> None:
        self._tiling = config.windows.tiling()
        self._known = set(known)
        self._unfinished = {run.id: run for run in unfinished}
        self._edge = self._tiling.start
        self._last = max((window.end for window in self._known), default=None)
        self._noted: dict[RunId, Run] | None = None

    @classmethod
    def of(cls, config: PipelineConfig, known: Iterable[Window], unfinished: Iterable[Run]) -> Standing:
        """The one that the pipeline's mode needs."""
        return (NewestStanding if config.whole else Standing)(config, known, unfinished)

    @property
    def unfinished(self) -> list[Run]:
        """Runs that are not done, by window."""
        return sorted(self._unfinished.values(), key=lambda run: (run.window, run.id.number))

    @property
    def going(self) -> list[Run]:
        """Those of them that go on by themselves."""
        return [run for run in self._unfinished.values() if run.quarantined_at is None]

    @property
    def quarantined(self) -> int:
        """Runs that wait for an operator."""
        return sum(run.quarantined_at is not None for run in self._unfinished.values())

    def has_run(self, window: Window) -> bool:
        """Whether a window of the schedule has one, done or not."""
        return window.end <= self._edge or window in self._known

    def note(self, run: Run) -> None:
        """A run as it is now."""
        self._known.add(run.window)
        self._last = max(run.window.end, self._last or run.window.end)
        if self._noted is not None:
            self._noted[run.id] = run
        if run.unfinished:
            self._unfinished[run.id] = run
        else:
            self._unfinished.pop(run.id, None)

    def asking(self) -> None:
        """The drive table is being asked for the unfinished runs: what is noted from now on is newer."""
        self._noted = {}

    def replace(self, unfinished: Iterable[Run]) -> None:
        """The unfinished runs as the drive table had them when it was asked."""
        newer, self._noted = self._noted or {}, None
        self._unfinished = {run.id: run for run in unfinished}
        self._known.update(run.window for run in self._unfinished.values())
        for run in newer.values():
            self.note(run)

    def due(self, closed_until: datetime, limit: int) -> list[Window]:
        """Closed windows without a run, oldest first, `limit` at most."""
        if limit <= 0 or closed_until <= self._edge:
            return []
        first = self._without_run(closed_until, (), 1)
        self._forget_until(first[0].start if first else floor(self._tiling, closed_until))
        if not first:
            return []
        return self._without_run(closed_until, [run.window for run in self._unfinished.values()], limit)

    def _without_run(self, closed_until: datetime, busy: Iterable[Window], limit: int) -> list[Window]:
        span = Window(self._edge, closed_until + BEYOND)
        return due(self._tiling, self._known, closed_until, busy=busy, within=span, limit=limit)

    def _forget_until(self, edge: datetime) -> None:
        """Every window before `edge`, where one begins, has a run: later looks begin there, and need not remember
        what was before."""
        if edge > self._edge:
            self._edge = edge
            self._known = {window for window in self._known if window.end > edge}

    def loaded_until(self, waiting: Iterable[Window]) -> datetime | None:
        """Everything before this is done; None: nothing is. `waiting`: windows that are due and have no run."""
        first = min(map(start_of, self._open(waiting)), default=None)
        if first is None:
            return self._last
        return first if first > self._tiling.start else None

    def oldest_open(self, waiting: Iterable[Window]) -> datetime | None:
        """End of the oldest closed window that is not done; None if there is none."""
        return min((window.end for window in self._open(waiting)), default=None)

    def _open(self, waiting: Iterable[Window]) -> list[Window]:
        return [*(run.window for run in self._unfinished.values()), *waiting]


class NewestStanding(Standing):
    """Of a pipeline whose runs load the table whole: a window is done with once a later one has a run."""

    _loaded: datetime | None = None

    def has_run(self, window: Window) -> bool:
        return self._last is not None and window.end <= self._last

    def due(self, closed_until: datetime, limit: int) -> list[Window]:
        """The newest closed window, if none that is as late has a run and nothing is unfinished."""
        if limit <= 0:
            return []
        return newest_due(self._tiling, self._known, closed_until, busy=self._open(()))

    def loaded_until(self, waiting: Iterable[Window]) -> datetime | None:  # noqa: ARG002 what waits changes nothing
        """End of the newest window that is done: the target holds the table as it was after that."""
        done = [window.end for window in self._known.difference(self._open(()))]
        if self._loaded is not None:  # and stays so while the same window is loaded again
            done.append(self._loaded)
        self._loaded = max(done, default=None)
        if self._loaded is not None:  # what came before it is of no use any more
            self._known = {window for window in self._known if window.end >= self._loaded}
        return self._loaded
