"""Configuration files: read, checked as a whole, written, and described for editors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import yaml
from pydantic import ValidationError

from service.config_text import Document, Place, read_file
from service.problems import InvalidConfig, Problem, Severity, complaints
from service.reference import Keys
from service.rules import broken_rules
from service.schema import json_schema
from service.settings import PipelineConfig
from service.shared import completed
from state.errors import ConfigurationError

__all__ = [
    "create_config_template",
    "json_schema",
    "load_config",
    "parse_config",
    "save_config",
    "validate_config",
]

SOURCE_TYPES = ("elasticsearch", "opensearch", "mysql", "mariadb", "files")
SEARCH_TYPES = SOURCE_TYPES[:2]
TARGET_TYPES = ("duckdb", "snowflake")


def load_config(path: Path | str) -> PipelineConfig:
    """The configuration in a YAML or JSON file. Raises `InvalidConfig` with every problem in it."""
    return _accepted(*_judged_file(Path(path)), file=str(path))


def parse_config(data: Mapping[str, Any]) -> PipelineConfig:
    """The configuration in plain values; `shared` begins in the working directory. Raises `InvalidConfig`."""
    return _accepted(*_judged(completed(Document(data), Path())))


def validate_config(config: Mapping[str, Any] | Path | str) -> list[Problem]:
    """Every problem of a configuration, errors first; warnings alone do not keep it from being used."""
    judged = (
        _judged(completed(Document(config), Path())) if isinstance(config, Mapping) else _judged_file(Path(config))
    )
    return judged[1]


def save_config(config: PipelineConfig, path: Path | str, *, overwrite: bool = False) -> None:
    """Write what was set (not the defaults) as YAML, or JSON if the name ends so: whole or not at all.

    Raises `ConfigurationError` if the file exists and may not be overwritten, or cannot be written.
    """
    path = Path(path)
    data = config.model_dump(mode="json", exclude_unset=True)
    text = json.dumps(data, indent=2) if path.suffix == ".json" else yaml.safe_dump(data, sort_keys=False)
    write_whole(path, text.rstrip("\n") + "\n", overwrite=overwrite)


def create_config_template(source_type: str = "elasticsearch", target_type: str = "duckdb") -> str:
    """A commented configuration to begin with, as YAML. Raises `ConfigurationError` for an unknown kind."""
    for name, kind, known in (
        ("source_type", source_type, SOURCE_TYPES),
        ("target_type", target_type, TARGET_TYPES),
    ):
        if kind not in known:
            raise ConfigurationError(
                f"{kind!r} is no {name.replace('_', ' ')} of this version",
                hint=f"Give one of: {', '.join(known)}.",
                code="unknown_kind",
                path=name,
            )
    source = "files" if source_type == "files" else "search" if source_type in SEARCH_TYPES else "mysql"
    pieces = ("head.yaml", f"source_{source}.yaml", f"target_{target_type}.yaml", "tail.yaml")
    text = "\n".join(template(piece) for piece in pieces).replace("{source_type}", source_type)
    return text if source == "search" else text.replace("key: [_id]", "key: [id]")


def template(name: str) -> str:
    """The text of a file in `service/templates`."""
    return resources.files("service").joinpath("templates", name).read_text(encoding="utf-8")


def write_whole(path: Path, text: str, *, overwrite: bool = False) -> None:
    """A file with `text`, whole or not at all. Raises `ConfigurationError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # fails, as a rename does not, if somebody made the file meanwhile
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists already", hint="Give another name, or say --force to replace it.", code="exists"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {(error.strerror or 'error').lower()}",
            hint="Check that the folder exists and may be written to.",
            code="not_writable",
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _accepted(config: PipelineConfig | None, problems: Sequence[Problem], *, file: str = "") -> PipelineConfig:
    if config is None:
        raise InvalidConfig(problems, file)
    return config


def _judged_file(path: Path) -> tuple[PipelineConfig | None, list[Problem]]:
    document = read_file(path)
    if not document.places:  # not even a document
        return None, list(document.problems)
    return _judged(completed(document, path.parent))


def _judged(document: Document) -> tuple[PipelineConfig | None, list[Problem]]:
    """The configuration, or None if there is an error; and all problems, errors first."""
    data = _with_kind_of_stage(document.data)
    config, problems = _checked(data)
    if config is None:
        wrong = tuple(problem.path for problem in problems)
        rest = _mended(data, problems)
        problems += broken_rules(rest, wrong) if rest else []
    else:
        problems += broken_rules(config)
    found = [*document.problems, *(placed(problem, document.places) for problem in problems)]
    found.sort(key=lambda problem: problem.severity is not Severity.ERROR)
    usable = not any(problem.severity is Severity.ERROR for problem in found)
    return config if usable else None, found


def _with_kind_of_stage(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`data` whose stage is of the target's kind, unless it says of which itself."""
    stage, target = data.get("stage_system"), data.get("target_system")
    kind = target.get("type") if isinstance(target, Mapping) else None
    if isinstance(stage, Mapping) and "type" not in stage and kind in TARGET_TYPES:
        return {**data, "stage_system": {"type": kind, **stage}}
    return data


def _checked(data: Mapping[str, Any]) -> tuple[PipelineConfig | None, list[Problem]]:
    try:
        return PipelineConfig.model_validate(data), []
    except ValidationError as error:
        return None, complaints(error, data)


STAND_INS: Mapping[str, Any] = {
    "config_version": 1,
    "pipeline_metadata": {"pipeline_name": "unknown"},
    "windows": {"start": "2000-01-01T00:00:00Z"},
    "windows.start": "2000-01-01T00:00:00Z",
    "source_system": {"type": "files", "path": "unknown", "cursor": "unknown"},
    "stage_system": {"directory": "unknown"},
    "target_system": {"type": "duckdb", "database": "unknown", "table": "unknown", "mode": "append"},
    "target_system.type": "duckdb",
}
"""What is taken for a key that is missing while the rules look at the rest; any other is the word unknown."""


def _mended(data: Mapping[str, Any], problems: Sequence[Problem]) -> PipelineConfig | None:
    """A stand-in for the rules: wrong keys are left out, required ones filled. None if that is not enough."""
    rest = _without(data, problems)
    config, more = _checked(rest)
    for problem in more:
        group, last = _group_of(rest, problem.path)
        group[last] = STAND_INS.get(problem.path, "unknown")
    return config or _checked(rest)[0]


def _without(data: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """`data` without the keys that are wrong, so that the rules can look at the rest."""
    rest = _copied(data)
    for problem in problems:
        group, last = _group_of(rest, problem.path)
        group.pop(last, None)
    return rest


def _group_of(data: Any, path: str) -> tuple[dict[str, Any], str]:
    """The group that holds the last key of `path`, or a group of nobody."""
    *above, last = path.split(".")
    for key in above:
        data = data.get(key) if isinstance(data, dict) else None
    return (data if isinstance(data, dict) else {}), last


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in data.items()}


def placed(problem: Problem, places: Mapping[Keys, Place]) -> Problem:
    """`problem` with the file and line of its key, or of the nearest group above it."""
    keys: Keys = (
        tuple(int(key) if key.isdecimal() else key for key in problem.path.split(".")) if problem.path else ()
    )
    while keys and keys not in places:
        keys = keys[:-1]
    place = places.get(keys)
    return msgspec.structs.replace(problem, file=place.file, line=place.line) if place else problem
