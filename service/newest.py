"""Mode snapshot: a run loads the source as it is when it is read, so only the newest window is worth a run.

Older windows that nobody began are superseded by it, however many they are; an unfinished run goes on before
another window is opened, so that two runs never work at the same table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from service.bench import Bench
from service.retry import retrying
from service.settings import PipelineConfig
from state.errors import ConfigurationError
from state.model import Phase, Window
from state.windows import Tiling, newest


def newest_due(
    tiling: Tiling,
    known: Iterable[Window],
    until: datetime,
    *,
    busy: Iterable[Window] = (),
    within: Window | None = None,
) -> list[Window]:
    """The newest closed window, if it is later than all that have a run (`known`), nothing is unfinished (`busy`)
    and it lies in `within`; at most one."""
    window = newest(tiling, until)
    if window is None or any(busy) or any(each.end >= window.end for each in known):
        return []
    return [window] if within is None or within.covers(window) else []


def require_newest(config: PipelineConfig, windows: Sequence[Window], closed: datetime) -> None:
    """Raises `ConfigurationError` where a run replaces the whole table, unless `windows` is the newest window that
    is closed: what the table held before, no source tells any more."""
    if not config.whole:
        return
    window = newest(config.windows.tiling(), closed)
    if window is None or list(windows) != [window]:
        raise ConfigurationError(
            "mode snapshot loads the table as it is now: only its newest window can be loaded"
            + (f", {window}" if window else ""),
            hint="Name that window; what the source held at other times cannot be loaded again."
            if window
            else "Wait until the first window is closed.",
            code="not_newest",
            path="--from",
        )


async def later_window(bench: Bench) -> Window | None:
    """In mode snapshot: a window after the run's that is done, so that the run would bring back what is old.

    Asked before the run raises the fence, which would keep a later run from its merge. None if there is none, and
    where the run is merged already.
    """
    run, drive = bench.run, bench.drive
    if not bench.config.whole or run.receipt is not None:
        return None

    async def done() -> set[Window]:
        waiting = await drive.windows(run.id.pipeline, unfinished=True)
        return set(await drive.windows(run.id.pipeline)) - set(waiting)

    later = await retrying(done, bench.retry, bench.on_retry(Phase.STALE_PIPELINE_HANDLING))
    return max((window for window in later if window.end > run.window.end), default=None)
