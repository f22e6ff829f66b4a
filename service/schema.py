"""The JSON Schema of a configuration, for editors."""

from __future__ import annotations

from typing import Any

from service.settings import PipelineConfig
from service.shared import SECTIONS

CONNECTION = {
    "type": "string",
    "description": "Name of a connection in the shared file, whose settings are joined in here.",
}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12. A shared file may hold any key of a section, so a missing key is left to `validate`."""
    schema = PipelineConfig.model_json_schema()
    groups: dict[str, Any] = schema["$defs"]
    for group in groups.values():
        group.pop("required", None)
    for section in SECTIONS:
        for name in _names(schema["properties"][section]):
            groups[name]["properties"]["connection"] = CONNECTION
    schema["required"] = ["config_version"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Written by `sluiceway schema`; do not edit.",
        **_plain(schema),
    }


def _names(section: dict[str, Any]) -> list[str]:
    refs = [section] if "$ref" in section else section.get("oneOf") or section["anyOf"]
    return [ref["$ref"].removeprefix("#/$defs/") for ref in refs if "$ref" in ref]


def _plain(value: Any) -> Any:
    """Descriptions in one line; a choice of groups as `anyOf`, since without its `type` more than one may fit."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _plain(item) for key, item in value.items() if key != "discriminator"}
    if isinstance(made.get("description"), str):
        made["description"] = " ".join(made["description"].split())
    if "oneOf" in made:
        made["anyOf"] = made.pop("oneOf")
    return made
