"""How runs, ledgers, plans and checks look on a terminal: values and a width in columns in, rich renderables out.

On a narrow terminal a window is shown by its start, so that no table is wrapped or cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from service.console import WIDE_COLUMNS
from service.ledger import Entry, Fate, Ledger
from service.planning import Planned
from state.checks import Check
from state.model import MergeCounts, Phase, Run, RunStatus, Window, show_instant
from state.summary import seconds_in

GOOD, OPEN, BAD, DIM = "green", "yellow", "bold red", "dim"

STYLES: Mapping[str, str] = {
    "COMPLETED": GOOD,
    "PASSED": GOOD,
    "loaded": GOOD,
    "DRIFT": OPEN,
    "UNPROVEN": OPEN,
    "PENDING": "cyan",
    "RUNNING": "cyan",
    "pending": "cyan",
    "running": "cyan",
    "SKIPPED": OPEN,
    "skipped": OPEN,
    "missing": OPEN,
    "FAILED": BAD,
    "failed": BAD,
    "quarantined": BAD,
    "DISABLED": DIM,
}

OUTCOMES = ("inserted", "updated", "older", "unchanged")


def number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def word(value: str) -> Text:
    """A status in its colour; the word itself says it all without."""
    return Text(value or "-", style=STYLES.get(value, ""))


def table(*columns: str, width: int = WIDE_COLUMNS, right: Iterable[str] = (), wraps: str = "") -> Table:
    """A plain table; `right` are its columns of numbers, `wraps` the one whose text may take several lines."""
    numeric, gap = set(right), 2 if width >= WIDE_COLUMNS else 1
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, gap, 0, 0))
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in numeric else "left",
            no_wrap=column != wraps,
            overflow="fold",
        )
    return made


def span(window: Window, width: int) -> str:
    """A window in one cell: both ends where there is room, else its start."""
    return str(window) if width >= WIDE_COLUMNS else show_instant(window.start)


def verdict(run: Run) -> str:
    """The audit's verdict on a run; empty if it has none."""
    audit = run.phases.get(Phase.AUDIT)
    return str(audit.figures.get("validation_status", "")) if audit else ""


def ending(run: Run) -> str:
    """The verdict of a run that ended well; of another one its status."""
    return verdict(run) if run.status is RunStatus.COMPLETED else run.status.value


def seconds(run: Run) -> float:
    """Time spent in finished phases, in seconds."""
    return seconds_in((record.started_at, record.finished_at) for record in run.phases.values())


def runs_table(runs: Sequence[Run], width: int, at_most: int) -> RenderableType:
    """The table that `run` ends with: one line per run and a total; the oldest are folded beyond `at_most`."""
    counted = ("rows", *OUTCOMES, "seconds")
    made = table("window", *counted, "proof", width=width, right=counted)
    shown = runs[-at_most:]
    for run in shown:
        made.add_row(
            span(run.window, width),
            number(run.manifest.rows if run.manifest.complete else None),
            *outcomes(run.receipt.counts if run.receipt else None),
            f"{seconds(run):.1f}",
            word(ending(run)),
        )
    if len(runs) > 1:
        made.add_row(*total(runs), style="bold")
    folded = len(runs) - len(shown)
    return Group(Text(f"… {folded} earlier windows, counted below", style=DIM), made) if folded else made


def outcomes(counts: MergeCounts | None) -> list[str]:
    return [number(getattr(counts, name) if counts else None) for name in OUTCOMES]


def total(runs: Sequence[Run]) -> list[RenderableType]:
    receipts = [run.receipt.counts for run in runs if run.receipt]
    passed = sum(ending(run) == "PASSED" for run in runs)
    return [
        f"{len(runs)} windows",
        number(sum(run.manifest.rows for run in runs)),
        *(number(sum(getattr(counts, name) for counts in receipts)) for name in OUTCOMES),
        f"{sum(seconds(run) for run in runs):.1f}",
        word("PASSED") if passed == len(runs) else Text(f"{passed}/{len(runs)}", style=OPEN),
    ]


def ledger_table(ledger: Ledger, width: int) -> RenderableType:
    made = table("window", "fate", "rows", "proof", "run", width=width, right=("rows",), wraps="run")
    for line in folded(ledger, width):
        made.add_row(*line)
    closing = [Text(f"gap {gap}", style=OPEN) for gap in ledger.gaps] or [Text("no gaps", style=GOOD)]
    closed = Text(f"{ledger.pipeline}: windows are closed up to {show_instant(ledger.closed_until)}", style=DIM)
    return Group(made, "", *closing, closed)


def folded(ledger: Ledger, width: int) -> list[list[RenderableType]]:
    """Lines of the ledger; neighbours that are missing, or that nobody begins, are said in one."""
    lines: list[list[RenderableType]] = []
    for (fate, why), entries in groupby(ledger.entries, key=said_as_one):
        if fate is not None:
            lines.append(one_line(fate, why, [entry.window for entry in entries], width))
            continue
        for entry in entries:
            proof, rows = word(entry.proof), number(entry.rows)
            lines.append([span(entry.window, width), word(entry.fate.value), rows, proof, entry.run])
    return lines


def said_as_one(entry: Entry) -> tuple[Fate | None, str]:
    """What neighbours have in common that are one line; no fate: each has its own."""
    return (entry.fate if entry.fate is Fate.MISSING or entry.why else None), entry.why


def one_line(fate: Fate, why: str, windows: Sequence[Window], width: int) -> list[RenderableType]:
    whole = Window(windows[0].start, windows[-1].end)
    count = "1 window" if len(windows) == 1 else f"{len(windows)} windows"
    return [span(whole, width), word(fate.value), "-", word(""), f"{count}, {why}" if why else count]


def plan_table(planned: Sequence[Planned], width: int) -> RenderableType:
    right = ("parts", "rows")
    made = table("window", *right, "run", width=width, right=right, wraps="run")
    for one in planned:
        goes_on = f"goes on with {one.run}" if one.run else "new"
        made.add_row(span(one.window, width), number(one.parts), number(one.rows), goes_on)
    counts = [one.rows for one in planned if one.rows is not None]
    if len(planned) > 1:
        whole = sum(counts) if len(counts) == len(planned) else None
        parts = number(sum(one.parts for one in planned))
        made.add_row(f"{len(planned)} windows", parts, number(whole), "", style="bold")
    return made


def checks_table(checks: Sequence[Check]) -> RenderableType:
    """Each check with what was found, and what to do about one that failed."""
    lines: list[RenderableType] = []
    for check in checks:
        mark = Text("ok    ", style=GOOD) if check.ok else Text("FAILED", style=BAD)
        lines.append(Text.assemble(mark, "  ", (check.name, "bold")))
        lines.append(Padding(Text(check.found), BELOW, expand=False))
        if not check.ok and check.hint:
            lines.append(Padding(Text(check.hint, style=OPEN), BELOW, expand=False))
    return Group(*lines)


BELOW = (0, 0, 0, 8)
"""Indentation of what belongs to the line above."""
