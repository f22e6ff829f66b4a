"""Options and arguments that several commands share. Light: nothing here reads a configuration."""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.instants import instant
from state.model import Phase, Window
from state.snowflake.scripts import SCRIPTS

CONFIG_VARIABLE = "SLUICEWAY_CONFIG"
DEFAULT_CONFIG = Path("sluiceway.yaml")
DEFAULT_TARGET, DEFAULT_FOLDER = "duckdb:warehouse.duckdb", Path("pipelines")
PHASES = ", ".join(Phase)


class LogForm(StrEnum):
    """How `serve` logs."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def window(text: str) -> Window:
    """The window in `START/END`. Raises ValueError."""
    start, slash, end = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is no START/END, as 2025-11-15T10:00Z/2025-11-15T11:00Z")
    return Window(instant(start), instant(end))


def phase(text: str) -> Phase:
    """The phase of that name. Raises ValueError."""
    try:
        return Phase(text)
    except ValueError:
        near = get_close_matches(text, list(Phase), n=1, cutoff=0.4)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise ValueError(f"{text!r} is no phase. {meant}There are: {PHASES}") from None


def script(text: str) -> str:
    """The name of one of the SQL scripts. Raises ValueError."""
    if text not in SCRIPTS:
        raise ValueError(f"{text!r} is no script. There are: {', '.join(SCRIPTS)}")
    return text


def name(text: str) -> str:
    """`text` if it says something. Raises ValueError."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text


ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", envvar=CONFIG_VARIABLE, help="The pipeline's configuration."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for a script.")]
WindowOption = Annotated[
    Window | None,
    typer.Option("--window", metavar="START/END", parser=window, help="A span in ISO 8601 with zone."),
]
FromOption = Annotated[
    datetime,
    typer.Option("--from", metavar="INSTANT", parser=instant, help="Start of the span, ISO 8601 with zone."),
]
ToOption = Annotated[
    datetime, typer.Option("--to", metavar="INSTANT", parser=instant, help="End of the span, not part of it.")
]
SinceOption = Annotated[
    datetime | None,
    typer.Option("--from", metavar="INSTANT", parser=instant, help="Only windows after this instant."),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--to", metavar="INSTANT", parser=instant, help="Only windows before this instant."),
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", parser=name, help="The run's pipeline_id, or a beginning that only it has."),
]
OptionalRunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", parser=name, help="The run's pipeline_id, or a beginning that only it has; or give --all."
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="Every run of the pipeline that waits for an operator, instead of one.")
]
CodeOption = Annotated[
    str | None,
    typer.Option(
        "--code",
        metavar="CODE",
        parser=name,
        help="With --all: only those that failed with this code, as no_warehouse.",
    ),
]
PhaseArgument = Annotated[Phase, typer.Argument(metavar="PHASE", parser=phase, help=f"One of {PHASES}.")]
ScriptArgument = Annotated[
    str, typer.Argument(metavar="NAME", parser=script, help=f"One of {', '.join(SCRIPTS)}.")
]
FromPhaseOption = Annotated[
    Phase | None,
    typer.Option(
        "--from", metavar="PHASE", parser=phase, help=f"Go back to this phase (default: the failed one): {PHASES}."
    ),
]
SourceUrlOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="URL",
        help="Propose by what a source holds: https://USER@HOST:9200 or mysql://USER@HOST/DATABASE.",
    ),
]
TablesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tables",
        "--indices",
        metavar="GLOB",
        help="With --from: which ones, as 'orders*' or a,b; may be given again. Default: all.",
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="TARGET",
        help=f"With --from: duckdb:PATH or snowflake:DB.SCHEMA. Default: {DEFAULT_TARGET}.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        file_okay=False,
        help=f"With --from: the folder of the files. Default: {DEFAULT_FOLDER}.",
    ),
]


def globs(given: list[str] | None) -> list[str]:
    """Each glob of the option; all names where there is none."""
    return [one.strip() for text in given or ["*"] for one in text.split(",") if one.strip()]


def same_config(path: Path) -> str:
    """What a command must be given so that it reads the same configuration; empty where it does by itself."""
    usual = os.environ.get(CONFIG_VARIABLE) or str(DEFAULT_CONFIG)
    return "" if str(path) == usual else f" -c {shlex.quote(str(path))}"
