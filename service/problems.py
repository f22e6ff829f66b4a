"""What is wrong with a configuration, said so that it can be mended: where, what, and how. Never a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.reference import Keys, Setting, found, kinds, known_keys
from service.settings import PipelineConfig
from state.errors import ConfigurationError
from state.settings import Group

SHOWN = 60
"""Characters of a wrong value that are repeated."""
HIDDEN = "(hidden)"
CHOICES = ("source_system", "stage_system", "target_system", "drive_table")
"""Groups of which there are several kinds."""

_SECRET = re.compile(
    r"passw|pwd|secret|token|credential|webhook|bearer|^auth|api_?key|private_?key|access_?key|signature", re.I
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"\?\S*")


class Severity(StrEnum):
    """Whether a configuration can be used."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True):
    """`path`: the key, dotted, empty for the whole file. `value`: as written, shortened, hidden if secret.
    `line` counts from 1; None where it is not known."""

    path: str
    message: str
    remedy: str
    value: str = ""
    severity: Severity = Severity.ERROR
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line) if part)
        named = " ".join(part for part in (where, self.path) if part)
        value = f" (given: {self.value})" if self.value else ""
        return f"{named}: {self.message}{value}. {self.remedy}"


class InvalidConfig(ConfigurationError):
    """A configuration cannot be used. `problems` holds all of them, warnings too."""

    def __init__(self, problems: Sequence[Problem], file: str = "") -> None:
        errors = [problem for problem in problems if problem.severity is Severity.ERROR]
        count = "1 problem" if len(errors) == 1 else f"{len(errors)} problems"
        message = f"{file or 'the configuration'} has {count}:\n" + "\n".join(str(problem) for problem in errors)
        super().__init__(
            message,
            hint="Mend what is named above; `sluiceway validate` shows it again.",
            code="invalid_config",
            path=errors[0].path if errors else "",
        )
        self.problems = tuple(problems)


@dataclass(frozen=True)
class _Context:
    """One complaint with what it is about."""

    keys: Keys
    error: ErrorDetails
    setting: Setting | None
    data: Any
    root: type[Group]

    @property
    def name(self) -> str:
        return str(self.keys[-1]) if self.keys else "the file"

    @property
    def secret(self) -> bool:
        return looks_secret(self.keys) or (self.setting is not None and self.setting.is_secret)


def complaints(error: ValidationError, data: Any, root: type[Group] = PipelineConfig) -> list[Problem]:
    """All that pydantic found in the settings `root`, one problem for each place."""
    found_problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        keys = real_keys(detail["loc"], data)
        setting = found([key for key in keys if isinstance(key, str)], data, root)
        problem = _problem(_Context(keys, detail, setting, data, root))
        found_problems.setdefault(problem.path, problem)
    return _without_consequences(list(found_problems.values()))


def real_keys(loc: Sequence[str | int], data: Any) -> Keys:
    """`loc` without the names of kinds that pydantic puts between the keys."""
    keys: list[str | int] = []
    for position, part in enumerate(loc):
        inside = (isinstance(data, Mapping) and part in data) or (
            isinstance(data, list) and part in range(len(data))
        )
        if _is_kind(loc, position) or (not inside and (not isinstance(data, Mapping) or position < len(loc) - 1)):
            continue
        keys.append(part)
        data = data[part] if inside else None
    return tuple(keys)


def _is_kind(loc: Sequence[str | int], position: int) -> bool:
    """Pydantic names the kind right after a system that is a choice of several kinds."""
    return position == 1 and loc[0] in CHOICES


def looks_secret(keys: Iterable[str | int]) -> bool:
    """True if a key's name says that its value is nobody's business."""
    return any(_SECRET.search(str(key)) for key in keys)


def shown(value: Any) -> str:
    """A plain value, shortened, without credentials of a URL; nothing for groups and lists."""
    if value is None or isinstance(value, Mapping | list | tuple):
        return ""
    text = _QUERY.sub("?…", _USERINFO.sub("…@", str(value))) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def nearest(name: str, known: Sequence[str]) -> str:
    """`Did you mean …? ` if one of `known` is near."""
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}? " if near else ""


def _problem(at: _Context) -> Problem:
    kind, path = at.error["type"], ".".join(str(key) for key in at.keys)
    if kind == "extra_forbidden":
        keys = known_keys(at.keys[:-1], at.data, at.root)
        remedy = f"{nearest(at.name, keys)}Known here: {', '.join(keys)}." if keys else "Remove it."
        return Problem(path, f"{at.name} is no known key", remedy)
    is_group = at.setting is not None and bool(at.setting.groups)
    if at.secret and not is_group and kind in ("model_type", "model_attributes_type", "dict_type"):
        remedy = f"Give a reference: {at.name}: {{env: NAME}} or {{file: PATH}}."
        return Problem(path, "a secret must not be written here", remedy, value=HIDDEN)
    if kind == "union_tag_invalid":
        known = ", ".join(kind for group in (at.setting.groups if at.setting else ()) for kind in kinds(group))
        tag = str(at.error.get("ctx", {}).get("tag", ""))
        return Problem(f"{path}.type", f"this version knows {known}", f"Give one of: {known}.", value=shown(tag))
    remedy = at.setting.text if at.setting else ""
    if kind == "missing":
        return Problem(path, f"{at.name} is missing", f"Add it. {remedy}".strip())
    value = HIDDEN if at.secret and at.error["input"] is not None else shown(at.error["input"])
    return Problem(path, _message(at), remedy or "docs/configuration.md says what it may be.", value=value)


_MESSAGES = {
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_pattern_mismatch": "does not have the right form",
    "string_too_short": "must not be empty",
    "model_type": "must be a group of keys",
    "model_attributes_type": "must be a group of keys",
    "dict_type": "must be a group of keys",
    "mapping_type": "must be a group of keys",
    "union_tag_not_found": "needs a type",
    "path_type": "must be a path",
}


def _message(at: _Context) -> str:
    kind = at.error["type"]
    text = _MESSAGES.get(kind)
    if text is None:
        text = at.error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    value = at.error["input"]
    if at.secret and isinstance(value, str) and value:
        text = text.replace(value, HIDDEN)
    return text if text.startswith(("must", "does", "needs")) else f"{at.name}: {text}"


def _without_consequences(problems: Sequence[Problem]) -> list[Problem]:
    """Where the kind of a system is wrong, what else is wrong in it (and in its stage) cannot be known."""
    types = {f"{choice}.type" for choice in CHOICES}
    unknown = [p.path.removesuffix("type") for p in problems if p.path in types]
    if "target_system." in unknown:
        unknown.append("stage_system.")
    return [p for p in problems if p.path in types or not p.path.startswith(tuple(unknown))]
