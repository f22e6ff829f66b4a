"""`init --from`: configurations proposed by what a source declares and holds, one file each."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from connectors.proposals import Proposed, Unproposed, propose
from service.config import write_whole
from service.config_text import read_file
from service.console import WIDE_COLUMNS, Console
from service.proposing import (
    CONNECTION,
    SHARED,
    Planned,
    Target,
    pipeline_file,
    planned,
    shared_file,
    target,
)
from service.source_url import PASSWORD, has_password, opened
from service.views import BAD, DIM, GOOD, number, table
from state.errors import ConfigurationError
from state.model import show_instant

EXPOSED = (
    f"The URL holds a password, which the shell's history and the list of processes show: {PASSWORD} hides it."
)


def init_from(url: str, patterns: Sequence[str], to: str, folder: Path, *, force: bool) -> None:
    """Write what the source behind `url` proposes. Files that exist are kept. Raises `ConfigurationError`."""
    console, chosen = Console(), target(to)
    if has_password(url):
        console.note(EXPOSED)
    with opened(url, asked if sys.stdin.isatty() else None) as access:
        proposed = asyncio.run(propose(access, patterns))
    if not proposed.found and not proposed.left:
        raise ConfigurationError(
            f"{proposed.product} shows nothing that is named like {', '.join(patterns)}",
            hint="Give other globs with --tables, or let the user see more.",
            code="nothing_found",
            path="--tables",
        )
    plans = planned(proposed, datetime.now(UTC))
    written = write(proposed, plans, chosen, folder, force=force)
    console.show(report(proposed, plans, written, console.out.width))
    console.line(closing(folder, plans, proposed.left))


def asked(question: str) -> str:
    """What a person types, unseen."""
    return str(typer.prompt(question, hide_input=True, err=True))


def write(proposed: Proposed, plans: Sequence[Planned], to: Target, folder: Path, *, force: bool) -> set[Path]:
    """The files that were written; those that exist are kept, unless `force`."""
    if not plans:
        return set()
    folder.mkdir(parents=True, exist_ok=True)
    shared = folder / SHARED
    texts = {folder / one.file: pipeline_file(one, to, doctor(folder / one.file)) for one in plans}
    if force or not shared.exists():
        texts = {shared: shared_file(proposed, to), **texts}
    else:
        require_same_source(shared, proposed)
    new = {path: text for path, text in texts.items() if force or not path.exists()}
    for path, text in new.items():
        write_whole(path, text, overwrite=force)
    return set(new)


def require_same_source(shared: Path, proposed: Proposed) -> None:
    """Raise `ConfigurationError` if the shared file, which is kept, leads to another source."""
    connections = read_file(shared).data.get("connections")
    there = connections.get(CONNECTION) if isinstance(connections, dict) else None
    if there != proposed.connection:
        raise ConfigurationError(
            f"{shared} exists already, and its connection {CONNECTION} is another one",
            hint="Name another folder with --out, or say --force to replace it.",
            code="exists",
            path="--out",
        )


def doctor(file: Path) -> str:
    return f"sluiceway doctor -c {shlex.quote(str(file))}"


def report(proposed: Proposed, plans: Sequence[Planned], written: set[Path], width: int) -> RenderableType:
    """What was proposed, and below it what was not and why."""
    left = table("not proposed", "why", width=width, wraps="why")
    for unproposed in proposed.left:
        left.add_row(Text(unproposed.name, style=BAD), unproposed.reason)
    parts: list[RenderableType] = [Text(proposed.product, style=DIM)]
    parts += ["", proposals_table(plans, {path.name for path in written}, width)] if plans else []
    parts += ["", left] if proposed.left else []
    return Group(*parts, "")


def proposals_table(plans: Sequence[Planned], new: set[str], width: int) -> RenderableType:
    """A line for each file; on a narrow terminal windows are told without the first one."""
    made = table(
        "source", "rows", "key", "cursor", "windows", "mode", "file", width=width, right=("rows",), wraps="source"
    )
    for one in plans:
        proposal = one.proposal
        state = Text(one.file, style=GOOD) if one.file in new else Text(f"{one.file} exists, kept", style=DIM)
        made.add_row(
            proposal.name,
            number(proposal.rows),
            ", ".join(proposal.key) or "-",
            proposal.cursor or "-",
            f"{one.width} from {show_instant(one.start)}" if width >= WIDE_COLUMNS else one.width,
            one.mode,
            state,
        )
    return made


def closing(folder: Path, plans: Sequence[Planned], left: Sequence[Unproposed]) -> str:
    """The last line: how many there are, and what to type next."""
    if not plans:
        return f"Nothing is proposed: {len(left)} found, each with its reason above."
    what = f"{len(plans)} proposed in {folder}, each choice with its reason"
    return f"{what}\nNext: sluiceway validate {shlex.quote(str(folder))}, then {doctor(folder / plans[0].file)}"
