"""How runs, proofs, ledgers and checks look on a terminal: values in, rich renderables out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.ledger import Fate, Ledger
from service.planning import Planned
from service.report import Advice, PhaseLine, RunReport
from state.checks import Check
from state.model import MergeCounts, Phase, Run, Window

GOOD, BAD, DIM = "green", "bold red", "dim"

STYLES: Mapping[str, str] = {
    "COMPLETED": GOOD,
    "PASSED": GOOD,
    "loaded": GOOD,
    "DRIFT": "yellow",
    "UNPROVEN": "yellow",
    "PENDING": "cyan",
    "RUNNING": "cyan",
    "pending": "cyan",
    "running": "cyan",
    "SKIPPED": "yellow",
    "skipped": "yellow",
    "missing": "yellow",
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


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    numeric = set(right)
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in numeric else "left", no_wrap=True, overflow="fold")
    return made


def verdict(run: Run) -> str:
    """The audit's verdict on a run; empty if it has none."""
    audit = run.phases.get(Phase.AUDIT)
    return str(audit.figures.get("validation_status", "")) if audit else ""


def seconds(run: Run) -> float:
    """Time spent in finished phases, in seconds."""
    times = [r.finished_at - r.started_at for r in run.phases.values() if r.started_at and r.finished_at]
    return sum(took.total_seconds() for took in times)


def runs_table(runs: Sequence[Run], at_most: int | None = None) -> RenderableType:
    """The table that `run` ends with: one line per run and a total; the oldest are folded beyond `at_most`."""
    counted = ("rows", *OUTCOMES, "seconds")
    made = table("window", "status", *counted, "proof", right=counted)
    shown = runs if at_most is None else runs[-at_most:]
    if len(shown) < len(runs):
        made.add_row(f"… {len(runs) - len(shown)} earlier windows", style=DIM)
    for run in shown:
        made.add_row(
            str(run.window),
            word(run.status.value),
            number(run.manifest.rows if run.manifest.complete else None),
            *outcomes(run.receipt.counts if run.receipt else None),
            f"{seconds(run):.1f}",
            word(verdict(run)),
        )
    if len(runs) > 1:
        made.add_section()
        made.add_row(*total(runs), style="bold")
    return made


def outcomes(counts: MergeCounts | None) -> list[str]:
    return [number(getattr(counts, name) if counts else None) for name in OUTCOMES]


def total(runs: Sequence[Run]) -> list[RenderableType]:
    receipts = [run.receipt.counts for run in runs if run.receipt]
    proofs = [verdict(run) for run in runs]
    passed = proofs.count("PASSED")
    return [
        f"{len(runs)} windows",
        "",
        number(sum(run.manifest.rows for run in runs)),
        *(number(sum(getattr(counts, name) for counts in receipts)) for name in OUTCOMES),
        f"{sum(seconds(run) for run in runs):.1f}",
        word("PASSED") if passed == len(runs) else Text(f"{passed} of {len(runs)} PASSED", style="yellow"),
    ]


def proof_table(report: RunReport) -> RenderableType:
    made = table("link", "count", "must equal", "counted by", "", right=("count", "must equal"))
    for link in report.proof:
        broken = link["name"] == report.broken_link
        made.add_row(
            str(link["name"]),
            number(link["count"]),
            number(link["expected"]),
            str(link["how"]),
            word("FAILED") if broken else "",
            style=BAD if broken else "",
        )
    return made


def phases_table(phases: Sequence[PhaseLine]) -> RenderableType:
    made = table("phase", "status", "seconds", "figures", right=("seconds",))
    made.columns[-1].no_wrap = False
    for line in phases:
        took = "-" if line.seconds is None else f"{line.seconds:.2f}"
        made.add_row(line.phase.value, word(line.status), took, brief(line.figures))
    return made


def brief(figures: Mapping[str, Any]) -> str:
    """The plain figures of a phase in one line."""
    plain = {k: v for k, v in figures.items() if v not in (None, "", {}, [], ())}
    return ", ".join(f"{k} {v:,}" if type(v) is int else f"{k} {v}" for k, v in plain.items())


def run_report(report: RunReport) -> RenderableType:
    """Everything that `show` says of a run."""
    head = table("", "")
    head.show_header = False
    for name, value in (
        ("run", report.pipeline_id),
        ("window", report.window),
        ("reads", report.read_range),
        ("status", word(report.status.value)),
        ("attempts", f"{report.attempts}, token {report.token}"),
        ("files", f"{len(report.files)}, {number(sum(file['bytes'] for file in report.files))} bytes"),
    ):
        head.add_row(name, value)
    parts: list[RenderableType] = [head, "", phases_table(report.phases), ""]
    if report.proof:
        parts += [Text.assemble("proof: ", word(report.validation_status or "")), proof_table(report), ""]
    return Group(*parts, failure_panel(report))


def failure_panel(report: RunReport) -> RenderableType:
    failure = report.failure
    if failure is None:
        return advice_lines(report.advice)
    where = f"{report.pipeline}, window {report.window}, {failure.phase.value}"
    lines = [
        Text.assemble(("what    ", "bold"), failure.message),
        Text.assemble(("where   ", "bold"), where),
        Text.assemble(("class   ", "bold"), f"{failure.kind} ({failure.code})"),
    ]
    return Panel(Group(*lines, advice_lines(report.advice)), title=report.pipeline_id, border_style="red")


def advice_lines(advice: Advice) -> RenderableType:
    lines = [
        Text.assemble(("data    ", "bold"), advice.safe),
        Text.assemble(("next    ", "bold"), advice.happens),
    ]
    if advice.do or advice.command:
        lines.append(Text.assemble(("do      ", "bold"), f"{advice.do} {advice.command}".strip()))
    return Group(*lines)


def ledger_table(ledger: Ledger) -> RenderableType:
    made = table("window", "fate", "rows", "proof", "run", right=("rows",))
    for entry in folded(ledger):
        made.add_row(*entry)
    closing = [Text(f"gap {span}", style="yellow") for span in ledger.gaps] or [Text("no gaps", style=GOOD)]
    return Group(made, "", *closing)


def folded(ledger: Ledger) -> list[list[RenderableType]]:
    """Lines of the ledger; neighbours that are missing are said in one."""
    lines: list[list[RenderableType]] = []
    missing: list[Window] = []
    for entry in (*ledger.entries, None):
        if entry is not None and entry.fate is Fate.MISSING:
            missing.append(entry.window)
            continue
        if missing:
            span = Window(missing[0].start, missing[-1].end)
            lines.append([str(span), word("missing"), "-", "", f"{len(missing)} windows"])
            missing = []
        if entry is not None:
            lines.append(
                [str(entry.window), word(entry.fate.value), number(entry.rows), word(entry.proof), entry.run]
            )
    return lines


def plan_table(planned: Sequence[Planned]) -> RenderableType:
    made = table("window", "parts", "rows", "continues", right=("parts", "rows"))
    for one in planned:
        made.add_row(str(one.window), number(one.parts), number(one.rows), one.run or "new")
    return made


def checks_table(checks: Sequence[Check]) -> RenderableType:
    made = table("", "check", "found")
    made.columns[-1].no_wrap = False
    for check in checks:
        mark = Text("ok", style=GOOD) if check.ok else Text("FAILED", style=BAD)
        found: RenderableType = check.found
        if not check.ok and check.hint:
            found = Group(check.found, Text(check.hint, style="yellow"))
        made.add_row(mark, check.name, found)
    return made
