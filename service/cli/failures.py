"""What a command says when it ends with an error: what failed, where, is data safe, what happens, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.console import PANEL_COLUMNS, Console
from state.errors import ConfigurationError, LeaseLost, SluicewayError, TransientError, UnknownOutcome
from state.masking import mask

if TYPE_CHECKING:
    from service.problems import Problem

LOADING = ("sluiceway run", "sluiceway backfill", "sluiceway retry", "sluiceway demo")
"""Commands that write to the target."""
LONGEST = 300
"""Characters of a defect's own message that are repeated."""

INDENTED = (0, 0, 0, 4)
SAFE = "The target holds what its receipts prove, and nothing twice."
ASIDE = "This command does not touch the target."
UNTOUCHED = "Nothing was started and nothing was written."


class Trouble(msgspec.Struct, frozen=True):
    """Why a command ended. `path` names the setting or option, `problems` all that a configuration has."""

    title: str
    what: str
    where: str
    kind: str
    code: str
    data: str
    next: str
    do: str
    path: str = ""
    problems: Sequence[Problem] = ()


def of_usage(error: typer.TyperException, command: str) -> Trouble:
    """A command line that means nothing."""
    what = error.format_message().strip().rstrip(".").replace("Value error, ", "").replace("Input should", "must")
    do = f"`{command} --help` shows what it takes, with an example."
    path = wrong_option(error)
    return Trouble("wrong usage", what, command, "usage", "usage", UNTOUCHED, "Nothing by itself.", do, path)


def wrong_option(error: typer.TyperException) -> str:
    """The option or argument that is wrong, as it is written; empty if it is none of them."""
    param = getattr(error, "param", None)
    if param is None:
        return str(getattr(error, "param_hint", None) or getattr(error, "option_name", ""))
    return str(param.opts[0] if param.param_type_name == "option" else param.metavar)


def of_error(error: SluicewayError, command: str) -> Trouble:
    """An error that the project knows."""
    where = ", ".join([command, *getattr(error, "__notes__", ())])
    data, happens = fate(error, loads=command in LOADING)
    problems = tuple(getattr(error, "problems", ()))
    what = mask(error.message.partition("\n")[0].rstrip(":") if problems else error.message)
    path = error.path if isinstance(error, ConfigurationError) else ""
    title = f"{command} ended"
    return Trouble(title, what, where, error.kind, error.code, data, happens, error.hint, path, problems)


def fate(error: SluicewayError, *, loads: bool) -> tuple[str, str]:
    """Whether data is safe, and what happens by itself; `loads`: the command writes to the target."""
    if not loads:
        return ASIDE, "Nothing by itself."
    match error:
        case ConfigurationError(code="invalid_config"):
            return UNTOUCHED, "Nothing by itself."
        case UnknownOutcome():
            unknown = (
                "It is not known yet whether the last write was committed; nothing can be loaded twice either way."
            )
            return unknown, "The next `sluiceway run` settles it first."
        case TransientError():
            return SAFE, "Runs that were begun keep their progress; the same command goes on with them."
        case LeaseLost():
            return SAFE, "Another worker owns the run now, and goes on with it."
    return SAFE, "Nothing by itself."


def of_defect(error: Exception, command: str) -> Trouble:
    """An error that nobody foresaw."""
    what = mask(f"{type(error).__name__}: {error}")
    return Trouble(
        "a defect of Sluiceway",
        what if len(what) <= LONGEST else what[:LONGEST] + "…",
        command,
        "defect",
        "defect",
        SAFE if command in LOADING else ASIDE,
        "A run that was begun goes on from its last checkpoint with the next `sluiceway run`.",
        "Please report it, with what the same command says with --debug.",
    )


def tell(trouble: Trouble, *, json: bool) -> None:
    """A panel on stderr, or one JSON value on stdout."""
    console = Console(json=json)
    if json:
        console.emit({"error": trouble})
    else:
        console.err.print(panel(trouble), width=min(console.err.width, PANEL_COLUMNS))


def panel(trouble: Trouble) -> RenderableType:
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    for name, value in (
        ("what", trouble.what),
        ("where", trouble.where),
        ("setting", "" if trouble.problems or trouble.kind == "usage" else trouble.path),
        ("data", trouble.data),
        ("next", trouble.next),
        ("do", trouble.do),
    ):
        if value:
            lines.add_row(name, value)
    if not trouble.problems:
        return Panel(lines, title=trouble.title, border_style="red")
    return Panel(Group(problem_lines(trouble.problems), "", lines), title=trouble.title, border_style="red")


def problem_lines(problems: Sequence[Problem]) -> RenderableType:
    """Each problem: where and which key, then what is wrong with the value given, then the remedy."""
    lines: list[RenderableType] = []
    for problem in problems:
        style = "bold red" if problem.severity == "error" else "bold yellow"
        place = ":".join(str(part) for part in (problem.file, problem.line) if part)
        given = f" (given: {problem.value})" if problem.value else ""
        lines += [
            Text.assemble((problem.severity, style), "  ", (problem.path or "the file", "bold"), f"  {place}"),
            Padding(Text(f"{problem.message}{given}"), INDENTED, expand=False),
            Padding(Text(problem.remedy, style="green"), INDENTED, expand=False),
        ]
    return Group(*lines)
