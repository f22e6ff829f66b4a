"""The demo: `sluiceway demo`, `make demo`."""

from __future__ import annotations

from pathlib import Path


def run_demo(directory: Path, *, rows: int | None = None, json: bool = False) -> int:
    """Run the demo in `directory`; returns the exit code: 0 only if every row arrived exactly once.

    `rows`: only the flights of the first days, at least so many. `json`: the story goes to stderr and the figures
    to stdout. Raises `ConfigurationError` if a package is missing or another demo works in `directory`,
    `PermanentError` if a step did not go as told.
    """
    from service.demo.story import tell_all  # noqa: PLC0415 the loading process imports us too, and tells nothing

    return tell_all(directory, rows=rows, json=json)


__all__ = ["run_demo"]
