"""Commands that deal with configurations as texts: init, validate, schema. None of them connects to anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Group
from rich.text import Text

from service import exit_codes
from service.cli.failures import problem_lines
from service.cli.options import same_config
from service.config import (
    SOURCE_TYPES,
    TARGET_TYPES,
    create_config_template,
    json_schema,
    template,
    validate_config,
    write_whole,
)
from service.config_text import read_file
from service.console import Console, write_json
from service.problems import Problem, Severity
from state.errors import ConfigurationError

PHASES_MODULE = "my_phases.py"
ENDINGS = (".yaml", ".yml", ".json")
SHARED_KEYS = {"connections", "defaults"}


class Judged(msgspec.Struct, frozen=True):
    """A file of `validate` with all its problems; `ok` if none of them is an error."""

    file: str
    ok: bool
    problems: tuple[Problem, ...] = ()


def init(file: Path, source: str, target: str, *, phases: bool, force: bool) -> None:
    """Write a configuration, and with `phases` a module of functions. Raises `ConfigurationError`."""
    for option, kind, known in (("--source", source, SOURCE_TYPES), ("--target", target, TARGET_TYPES)):
        if kind not in known:
            raise typer.BadParameter(f"{kind!r} is none of {', '.join(known)}", param_hint=option)
    text = create_config_template(source, target)
    console = Console()
    if phases and file.exists() and not force:
        console.line(f"{file} is kept as it is")
    else:
        write_whole(file, text, overwrite=force)
        console.line(f"{file} written: change it to fit, every key has its comment")
    if phases:
        module = file.with_name(PHASES_MODULE)
        code = template("phases.py.txt").replace("{module}", module.stem)
        write_whole(module, code, overwrite=force)
        console.line(f"{module} written: a function for each phase; name those you want in {file}")
    console.line(f"Next: sluiceway validate{same_config(file).replace(' -c', '')}")


def validate(path: Path, *, json: bool) -> None:
    """Judge a file, or each file of a folder. Exits with `CONFIG` if one has an error."""
    files = [path] if not path.is_dir() else configurations(path)
    judged = with_twins([(file, validate_config(file)) for file in files])
    console = Console(json=json)
    if json:
        console.emit({"files": judged})
    else:
        for one in judged:
            console.show(verdict(one))
    if not all(one.ok for one in judged):
        raise typer.Exit(exit_codes.CONFIG)


def configurations(folder: Path) -> list[Path]:
    """The configurations in a folder: files of the right ending, but for those that others share."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    found = [file for file in files if not is_shared(file)]
    if not found:
        raise ConfigurationError(
            f"there is no configuration in {folder}",
            hint=f"Name a folder with files that end in {', '.join(ENDINGS)}, or write one with `sluiceway init`.",
            code="no_configuration",
            path="FILE|DIR",
        )
    return found


def is_shared(file: Path) -> bool:
    """True for a file of connections and defaults, which is judged with those that name it."""
    keys = set(read_file(file).data)
    return bool(keys) and keys <= SHARED_KEYS


def with_twins(judged: Sequence[tuple[Path, Sequence[Problem]]]) -> list[Judged]:
    """Add what only shows when the files are seen together: two pipelines of one name would share their runs."""
    named = defaultdict(list)
    for file, _ in judged:
        named[pipeline_name(read_file(file).data)].append(file)
    return [as_judged(file, [*problems, *twins(file, named)]) for file, problems in judged]


def as_judged(file: Path, problems: Sequence[Problem]) -> Judged:
    ok = not any(problem.severity is Severity.ERROR for problem in problems)
    return Judged(str(file), ok, tuple(problems))


def pipeline_name(data: Mapping[str, Any]) -> str:
    metadata = data.get("pipeline_metadata")
    return str(metadata.get("pipeline_name", "")) if isinstance(metadata, Mapping) else ""


def twins(file: Path, named: Mapping[str, Sequence[Path]]) -> list[Problem]:
    name = next(name for name, files in named.items() if file in files)
    others = [str(other) for other in named[name] if other != file]
    if not name or not others:
        return []
    return [
        Problem(
            "pipeline_metadata.pipeline_name",
            f"is the name of the pipeline in {', '.join(others)} too",
            "Give each pipeline a name of its own: it names runs, files and receipts.",
            value=name,
            file=str(file),
        )
    ]


def verdict(judged: Judged) -> Group | Text:
    """A line for a good file, all problems of a bad one."""
    if judged.ok and not judged.problems:
        return Text.assemble((f"{judged.file}: "), ("OK", "green"))
    errors = sum(problem.severity is Severity.ERROR for problem in judged.problems)
    rest = len(judged.problems) - errors
    said = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (rest, "warning"))
        if count
    ]
    head = Text.assemble(f"{judged.file}: ", ("OK", "green") if judged.ok else ("NOT VALID", "bold red"))
    return Group(head.append(f", {' and '.join(said)}"), problem_lines(judged.problems))


def schema() -> None:
    """The JSON Schema on stdout."""
    write_json(json_schema())
