"""Writes docs/cli.md, configuration.md, schema.json and openapi.json: `python -m service.cli.reference [FOLDER]`.

They are made from the commands, settings and models themselves, so they cannot say something else.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer.main

from service import exit_codes
from service.cli.commands import app
from service.cli.reference_api import openapi
from service.cli.reference_config import configuration_page
from service.config import json_schema, template
from service.report import RunReport

MADE = "<!-- Made by `python -m service.cli.reference`; do not edit. -->"

RUN_KEYS: Mapping[str, str] = {
    "pipeline_id": "the run's name",
    "pipeline": "its pipeline",
    "status": "`pipeline_status`: PENDING, RUNNING, COMPLETED, SKIPPED, FAILED",
    "window": "the window, `[start, end)`",
    "read_range": "what it reads: the window with its lookback",
    "token": "of the last attempt",
    "attempts": "how often a worker took it",
    "owner": "the worker that holds it",
    "phases": "each with `phase`, `status`, `seconds`, `figures`",
    "validation_status": "PASSED, DRIFT, UNPROVEN, FAILED; null before the audit",
    "broken_link": "the link of the proof that does not hold",
    "proof": "links, each with `name`, `count`, `expected`, `how`",
    "files": "chunks, each with `name`, `rows`, `bytes`, `sha256`, `min_cursor`, `max_cursor`",
    "failure": "`phase`, `kind`, `code`, `message`, `hint`, `at`; null without one",
    "advice": "`safe`, `happens`, `do`, `command`: is data safe, what happens by itself, what to do",
}
"""Keys of a run in JSON."""

JSON_KEYS: Mapping[str, Mapping[str, str]] = {
    "validate": {"files": "each with `file`, `ok`, `problems` (`path`, `message`, `remedy`, `value`, `severity`, "
                          "`file`, `line`)"},
    "doctor": {"ok": "true if all checks pass", "checks": "each with `name`, `ok`, `found`, `hint`"},
    "plan": {"windows": "each with `window` (`start`, `end`), `run` (the run it goes on with), `parts`, `rows`"},
    "run": {"runs": "those that ended, with the keys above", "next": "the command to type next"},
    "backfill": {"runs": "those that ended, with the keys above", "next": "the command to type next"},
    "retry": {"runs": "those that ended, with the keys above", "next": "the command to type next"},
    "windows": {
        "pipeline": "its name",
        "closed_until": "windows that end here or earlier are closed",
        "entries": "each with `window`, `fate`, `run`, `rows`, `proof`",
        "gaps": "spans without loaded rows, each with `start`, `end`",
    },
    "show": RUN_KEYS,
    "test-phase": {
        "pipeline": "its name",
        "window": "what was read",
        "phase": "the phase asked for",
        "status": "its status; `-` if an earlier phase failed or skipped",
        "figures": "what it found or returned",
        "validation_status": "the audit's verdict, if it was reached",
        "failure": "as of a run",
    },
    "drive init": {"place": "where the drive table lies", "id": "its id"},
    "drive upgrade": {"place": "where the drive table lies", "id": "its id"},
}  # fmt: skip
"""Command → top-level keys of its JSON."""

ERROR_KEYS = "`title`, `what`, `where`, `kind`, `code`, `data`, `next`, `do`, `path`, `problems`"


def pages() -> dict[str, str]:
    """File name below docs/ → text."""
    return {
        "cli.md": cli_page(),
        "configuration.md": configuration_page(MADE),
        "schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "openapi.json": json.dumps(openapi(), indent=2) + "\n",
    }


def commands(group: Any = None, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its full name, in the order of the help."""
    top: Any = group or typer.main.get_command(app)
    for name, command in top.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def cli_page() -> str:
    """docs/cli.md."""
    intro = template("cli.md")
    listed = "\n".join(f"| {code} | {text} |" for code, text in codes())
    head = (
        intro.replace("{codes}", listed).replace("{error_keys}", ERROR_KEYS).replace("{run_keys}", keys_of_a_run())
    )
    sections = [section(name, command) for name, command in commands()]
    return "\n\n".join([MADE, head.strip(), *sections]) + "\n"


def codes() -> list[tuple[int, str]]:
    """Exit codes with what `service.exit_codes` says of them."""
    body = ast.parse(inspect.getsource(exit_codes)).body
    found = []
    for one, after in pairwise(body):
        if isinstance(one, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found.append((ast.literal_eval(one.value), str(after.value.value)))
    return found


def keys_of_a_run() -> str:
    return table(("key", "meaning"), [(f"`{key}`", RUN_KEYS[key]) for key in RunReport.__struct_fields__])


def section(name: str, command: Any) -> str:
    """One command: what it does, what it takes, what it answers."""
    takes = [described(parameter) for parameter in command.params if parameter.name != "help"]
    parts = [f"## {name}", inspect.cleandoc(command.help), example(command.epilog)]
    if takes:
        parts.append(table(("takes", "default", "meaning"), takes))
    if keys := JSON_KEYS.get(name):
        known = "the keys of a run" if keys is RUN_KEYS else ""
        parts.append(f"JSON: {known or '; '.join(f'`{key}` {text}' for key, text in keys.items())}.")
    return "\n\n".join(parts)


def example(epilog: str) -> str:
    return "    " + epilog.removeprefix("Example: ")


def described(parameter: Any) -> tuple[str, str, str]:
    """How a parameter is written, its default, its help."""
    if parameter.param_type_name == "argument":
        written = f"`{parameter.metavar}`"
    else:
        value = f" {parameter.metavar or 'N'}" if not parameter.is_flag else ""
        written = ", ".join(f"`{option}{value}`" for option in parameter.opts)
    if parameter.required:
        return written, "required", parameter.help
    default = "" if parameter.default in (None, False) else f"`{parameter.default}`"
    variable = f"`{parameter.envvar}`, " if parameter.envvar else ""
    return written, variable + default, parameter.help


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(folder: Path) -> None:
    """Write all pages into `folder`."""
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
