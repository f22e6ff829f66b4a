"""How one run looks on a terminal: what `show`, `test-phase` and the end of a failed `run` say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.console import PANEL_COLUMNS
from service.report import Advice, PhaseLine, RunReport
from service.views import BAD, BELOW, DIM, number, table, word
from state.model import Failure, Phase

FILES_SHOWN = 10
"""Files listed one by one."""


def run_report(report: RunReport, width: int) -> RenderableType:
    """Everything that `show` says of a run."""
    parts: list[RenderableType] = [head(report), "", phase_lines(report.phases), ""]
    if report.proof:
        parts += [Text.assemble("proof: ", word(report.validation_status or "")), proof_table(report, width), ""]
    if report.files:
        parts += [file_table(report.files, width), ""]
    return Group(*parts, failure_panel(report, width))


def grid(rows: Sequence[tuple[str, RenderableType]]) -> Table:
    """Names with their values; a value may take several lines."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, value)
    return made


def head(report: RunReport) -> Table:
    size = number(sum(file["bytes"] for file in report.files))
    rows: list[tuple[str, RenderableType]] = [
        ("run", report.pipeline_id),
        ("window", report.window),
        ("status", word(report.status.value)),
        ("attempts", f"{report.attempts}, the last with token {report.token}"),
        ("files", f"{len(report.files)}, {size} bytes"),
    ]
    if report.read_range != report.window:
        rows.insert(2, ("reads", report.read_range))
    return grid(rows)


def phase_lines(phases: Sequence[PhaseLine]) -> RenderableType:
    """A line for each phase, its figures below it."""
    width = max(len(phase) for phase in Phase)
    lines: list[RenderableType] = []
    for line in phases:
        took = "" if line.seconds is None or line.status == "DISABLED" else f"{line.seconds:8.2f} s"
        status = word(line.status)
        status.pad_right(10 - len(status))
        lines.append(Text.assemble((line.phase.value.ljust(width + 2), "bold"), status, took))
        if figures := brief(line.figures):
            lines.append(Padding(Text(figures, style=DIM), BELOW, expand=False))
    return Group(*lines)


def brief(figures: Mapping[str, Any]) -> str:
    """The plain figures of a phase in one line."""
    plain = {k: v for k, v in figures.items() if v not in (None, "", {}, [], ())}
    return ", ".join(f"{k} {v:,}" if type(v) is int else f"{k} {v}" for k, v in plain.items())


def proof_table(report: RunReport, width: int) -> RenderableType:
    right = ("count", "must equal")
    made = table("link", *right, "", "counted by", width=width, right=right, wraps="counted by")
    for link in report.proof:
        broken = link["name"] == report.broken_link
        made.add_row(
            str(link["name"]),
            number(link["count"]),
            number(link["expected"]),
            word("FAILED") if broken else "",
            str(link["how"]),
            style=BAD if broken else "",
        )
    return made


def file_table(files: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    right = ("rows", "bytes")
    made = table(*right, "file", width=width, right=right, wraps="file")
    for file in files[:FILES_SHOWN]:
        made.add_row(number(file["rows"]), number(file["bytes"]), str(file["name"]))
    if (more := len(files) - FILES_SHOWN) > 0:
        made.add_row("", "", f"and {more} more (--json lists them)", style=DIM)
    return made


def failure_panel(report: RunReport, width: int) -> RenderableType:
    """What failed, where, is data safe, what happens, what to do; without a failure just the advice."""
    rows = told_rows(report)
    if report.failure is None:
        return grid(rows)
    return Panel(grid(rows), title=report.pipeline_id, border_style="red", width=min(width, PANEL_COLUMNS))


def told_rows(report: RunReport) -> list[tuple[str, str]]:
    """What failed, where, is data safe, what happens, what to do, each with its name; notifications say it too."""
    return [*failure_rows(report.failure, report.pipeline, report.window), *advice_rows(report.advice)]


def failure_rows(failure: Failure | None, pipeline: str, window: str) -> list[tuple[str, str]]:
    if failure is None:
        return []
    return [
        ("what", failure.message),
        ("where", f"{pipeline}, window {window}, {failure.phase.value}"),
        ("class", f"{failure.kind} ({failure.code})"),
    ]


def advice_rows(advice: Advice) -> list[tuple[str, str]]:
    rows = [("data", advice.safe), ("next", advice.happens)]
    if advice.do or advice.command:
        rows.append(("do", "\n".join(line for line in (advice.do, advice.command) if line)))
    return rows


def trial_report(report: RunReport, phase: Phase, width: int) -> RenderableType:
    """What `test-phase` found: the phases up to the asked one, and why it failed if it did."""
    done = [line for line in report.phases if list(Phase).index(line.phase) <= list(Phase).index(phase)]
    parts: list[RenderableType] = [
        Text(f"{phase} over {report.window}, in a scratch world"),
        "",
        phase_lines(done),
    ]
    failure = report.failure
    if failure is not None:
        rows = [
            *failure_rows(failure, report.pipeline, report.window),
            ("data", "The real target was not touched."),
        ]
        if failure.hint:
            rows.append(("do", failure.hint))
        shown = min(width, PANEL_COLUMNS)
        parts += ["", Panel(grid(rows), title=f"{failure.phase} failed", border_style="red", width=shown)]
    elif report.proof:
        parts += ["", Text.assemble("proof: ", word(report.validation_status or "")), proof_table(report, width)]
    return Group(*parts)
