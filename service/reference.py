"""A walk over all settings: what each is called, what it takes, and what its docstring says."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from service.settings import PipelineConfig
from state.settings import Group, Secret

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Setting:
    """A field of the configuration. `variant` is the `type` of the section it belongs to, empty if it has none."""

    keys: tuple[str, ...]
    variant: str
    field: FieldInfo

    @property
    def path(self) -> str:
        return ".".join(self.keys)

    @property
    def text(self) -> str:
        """Its docstring in one line."""
        return " ".join((self.field.description or "").split())

    @property
    def groups(self) -> list[type[Group]]:
        """The groups it may hold; empty for a plain value and for a secret."""
        return [group for group in members(self.field.annotation) if group is not Secret]

    @property
    def is_secret(self) -> bool:
        return Secret in members(self.field.annotation)

    @property
    def default(self) -> str:
        """Its default as it would be written; `required` if it has none."""
        if self.field.is_required():
            return "required"
        return json.dumps(self.field.get_default(call_default_factory=True), default=str)


def members(annotation: Any) -> list[type[Group]]:
    """The groups in a type, through unions and annotations."""
    if isinstance(annotation, type) and issubclass(annotation, Group):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [group for part in get_args(annotation) for group in members(part)]
    return []


def kinds(group: type[Group]) -> tuple[str, ...]:
    """The values of a group's `type`, if it is one kind of several."""
    field = group.model_fields.get("type")
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def settings(
    group: type[Group] = PipelineConfig, under: tuple[str, ...] = (), variant: str = ""
) -> Iterator[Setting]:
    """Every field below `group`, groups before what they hold. `variant` is of the group above."""
    variant = "/".join(kinds(group)) if len(under) == 1 else variant
    for name, field in group.model_fields.items():
        setting = Setting((*under, name), variant, field)
        yield setting
        for inner in setting.groups:
            yield from settings(inner, setting.keys, variant)


def found(keys: Sequence[str | int], data: Any, root: type[Group] = PipelineConfig) -> Setting | None:
    """The setting at `keys` of the configuration `data`, which says of which kind a group is."""
    group: type[Group] | None = root
    setting = None
    for depth, key in enumerate(keys):
        if group is None or key not in group.model_fields:
            return None
        setting = Setting(tuple(str(k) for k in keys[: depth + 1]), "", group.model_fields[str(key)])
        data = data.get(key) if isinstance(data, Mapping) else None
        group = chosen(setting.groups, data)
    return setting


def known_keys(keys: Sequence[str | int], data: Any, root: type[Group] = PipelineConfig) -> list[str]:
    """The keys that the group at `keys` may have; empty if there is no such group."""
    if not keys:
        return list(root.model_fields)
    setting = found(keys, data, root)
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    group = chosen(setting.groups, data) if setting else None
    return list(group.model_fields) if group else []


def chosen(groups: Sequence[type[Group]], data: Any) -> type[Group] | None:
    """The group that `data` is meant for: the only one, the one of its `type`, or the one that needs no type."""
    if len(groups) == 1:
        return groups[0]
    kind = data.get("type") if isinstance(data, Mapping) else None
    if kind is None:
        return next((group for group in groups if not group.model_fields["type"].is_required()), None)
    return next((group for group in groups if kind in kinds(group)), None)
