"""The text of docs/configuration.md, made from the settings and their docstrings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter

from service.config import template
from service.daemon.settings import FILE, DaemonSettings
from service.live import CHANGES
from service.reference import Setting, kinds, members, settings
from service.settings import PipelineConfig
from state.settings import Secret

SECRET = "secret: `{env: NAME}` or `{file: PATH}`"
FORMATS: Mapping[str, str] = {"path": "path", "date-time": "instant"}
DAEMON = "Of the process that `sluiceway serve` is: beside the pipelines' files, read when it starts. None needed."
LONGEST = 40
"""Characters of a default that still fit into a cell; the docstring says the others in words."""


def configuration_page(made: str) -> str:
    """docs/configuration.md."""
    intro = template("configuration.md").replace("{changes}", changes())
    parts = [made, intro.strip()]
    for name, field in PipelineConfig.model_fields.items():
        section = Setting((name,), "", field)
        for group in section.groups:
            variant = "/".join(kinds(group)) if len(section.groups) > 1 else ""
            title = f"## {name}" + (f" with type {variant.replace('/', ' or ')}" if variant else "")
            parts.append("\n\n".join([title, section.text, rows(settings(group, (name,)))]))
    plain = [Setting((name,), "", field) for name, field in PipelineConfig.model_fields.items()]
    parts.insert(2, "\n\n".join(["## At the top", rows(setting for setting in plain if not setting.groups)]))
    parts.append(f"## The daemon: {FILE}\n\n{DAEMON}\n\n{rows(settings(DaemonSettings))}")
    return "\n\n".join(parts) + "\n"


def rows(found: Iterable[Setting]) -> str:
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{setting.path}` | {cell(kind(setting))} | {cell(default(setting))} | {cell(setting.text)} |"
        for setting in plain(found)
    ]
    return "\n".join(lines)


def plain(found: Iterable[Setting]) -> Iterator[Setting]:
    """Settings that hold a value; a group is described by what it holds."""
    return (setting for setting in found if not setting.groups)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def default(setting: Setting) -> str:
    text = setting.default
    if text in ("required", "null"):
        return text if text == "required" else "none"
    return f"`{text}`" if len(text) <= LONGEST else "see meaning"


def kind(setting: Setting) -> str:
    """What a setting takes, in words."""
    if setting.is_secret:
        return SECRET
    if members(setting.field.annotation):
        return "group"
    annotation: Any = setting.field.annotation
    for constraint in setting.field.metadata:
        annotation = Annotated[annotation, constraint]
    schema = TypeAdapter(annotation).json_schema()
    return words(schema, schema.get("$defs", {}))


def words(schema: Mapping[str, Any], named: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return SECRET if name == Secret.__name__ else words(named[name], named)
    if "anyOf" in schema:
        found = [words(each, named) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(found)
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "array":
            return f"list of {words(schema['items'], named)}"
        case "object":
            inner = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
            return f"names, each with {words(inner, named)}" if isinstance(inner, dict) else "any group"
        case "integer" | "number" as number:
            return ("whole number" if number == "integer" else "number") + limits(schema)
        case "boolean":
            return "`true` or `false`"
        case "null":
            return "nothing"
    return FORMATS.get(schema.get("format", ""), "text")


def limits(schema: Mapping[str, Any]) -> str:
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    least = f", {low:,} or more" if low is not None else f", more than {above:,}" if above is not None else ""
    return f"{least}, at most {high:,}" if high is not None else least


def changes() -> str:
    """The table of what may change in the configuration of a live pipeline."""
    lines = ["| keys | may change | instead, or what to know |", "| --- | --- | --- |"]
    lines += [f"| {', '.join(f'`{key}`' for key in one.keys)} | {one.when} | {one.know} |" for one in CHANGES]
    return "\n".join(lines)
