"""Commands that deal with configurations as texts: init, validate, schema. None of them connects to anything."""

from __future__ import annotations

from pathlib import Path

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
    write_whole,
)
from service.console import Console, write_json
from service.daemon.fleet import judged_settings
from service.daemon.settings import FILE, settings_file
from service.folder import Judged, as_judged, configurations, judged
from service.problems import Severity

PHASES_MODULE = "my_phases.py"


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


def judged_all(path: Path) -> list[Judged]:
    """A file, or every file of a folder; `daemon.yaml` is judged as what it is."""
    own = settings_file(path) if path.is_dir() else path
    daemon = [as_judged(own, judged_settings(own)[1])] if own.name == FILE and own.exists() else []
    if path.is_dir():
        return [*judged(configurations(path)), *daemon]
    return daemon or judged([path])


def validate(path: Path, *, json: bool) -> None:
    """Judge a file, or each file of a folder. Exits with `CONFIG` if one has an error."""
    found = judged_all(path)
    console = Console(json=json)
    if json:
        console.emit({"files": found})
    else:
        for one in found:
            console.show(verdict(one))
    if not all(one.ok for one in found):
        raise typer.Exit(exit_codes.CONFIG)


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
