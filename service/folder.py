"""A folder of configurations: which files are pipelines, and what is wrong with each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from service.config import validate_config
from service.config_text import read_file
from service.daemon.settings import FILE as DAEMON_FILE
from service.problems import Problem, Severity
from state.errors import ConfigurationError

ENDINGS = (".yaml", ".yml", ".json")
SHARED_KEYS = {"connections", "defaults"}


class Judged(msgspec.Struct, frozen=True):
    """A file with all its problems; `ok` if none of them is an error."""

    file: str
    ok: bool
    problems: tuple[Problem, ...] = ()


def configurations(folder: Path) -> list[Path]:
    """The configurations in a folder: files of the right ending, but for those that others share and the
    daemon's own. Raises `ConfigurationError` if there is none."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    files = [file for file in files if file.name != DAEMON_FILE]
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


def judged(files: Sequence[Path]) -> list[Judged]:
    """Each file with its problems, and with what only shows when they are seen together: two pipelines of one name
    would share their runs."""
    judged = [(file, validate_config(file)) for file in files]
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
