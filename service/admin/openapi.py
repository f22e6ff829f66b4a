"""The OpenAPI 3.1 document of `/v1`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from service.admin.auth import Role
from service.admin.models import Problem
from service.admin.operations import Operation

ALWAYS = (400, 401, 403, 404, 408, 413, 429, 500, 503)
"""What any operation may answer with besides its own."""
REF = "#/components/schemas/{name}"
HEADERS: Mapping[str, Any] = {
    "X-Request-Id": {"description": "As in the log.", "required": True, "schema": {"type": "string"}}
}
"""Headers of every answer."""
MORE_HEADERS: Mapping[int, Mapping[str, Any]] = {
    401: {
        "WWW-Authenticate": {"description": "How to say who asks.", "required": True, "schema": {"type": "string"}}
    },
    429: {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}},
}
PARAMETERS: Mapping[str, str] = {
    "pipeline": "Name of the pipeline.",
    "run": "Name of the run, or a beginning that only it has.",
    "key": "The idempotency key that the backfill was asked for with.",
}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The document, as plain values."""
    models = sorted(models_of(operations), key=lambda model: model.__name__)
    schemas, components = msgspec.json.schema_components(models, ref_template=REF)
    by_model = dict(zip(models, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _described(one, by_model, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluiceway admin API", "version": version, "summary": "One daemon and its pipelines."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def models_of(operations: Sequence[Operation]) -> set[type[msgspec.Struct]]:
    """Every model that goes over the wire."""
    models: set[type[msgspec.Struct]] = {Problem}
    for one in operations:
        models |= {one.response, one.query, *([one.body] if one.body is not None else [])}
    return models


def _described(operation: Operation, schemas: Mapping[type, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Needs a token that may {'act' if operation.role is Role.OPERATE else 'look'}.",
        "parameters": [*_in_path(operation), *_in_query(operation, components), *_in_header(operation)],
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[operation.body]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _in_path(operation: Operation) -> list[dict[str, Any]]:
    always = {"in": "path", "required": True, "schema": {"type": "string"}}
    names = re.findall(r"{(\w+)}", operation.path)
    return [{"name": name, "description": PARAMETERS[name], **always} for name in names]


def _in_query(operation: Operation, components: Mapping[str, Any]) -> list[dict[str, Any]]:
    schema = components[operation.query.__name__]
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": inner}
        for name, inner in schema["properties"].items()
    ]


def _in_header(operation: Operation) -> list[dict[str, Any]]:
    if not operation.takes_key:
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9._-]+$"}
    said = "Needed unless it is a dry run: the same key gives the same backfill, however often it is asked for."
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema, "description": said}]


def _responses(operation: Operation, schemas: Mapping[type, Any]) -> dict[str, Any]:
    good = {
        "description": "Done.",
        "headers": HEADERS,
        "content": {"application/json": {"schema": schemas[operation.response]}},
    }
    bad = {"application/problem+json": {"schema": schemas[Problem]}}
    statuses = sorted({*ALWAYS, *operation.errors})
    problems = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": {**HEADERS, **MORE_HEADERS.get(status, {})},
            "content": bad,
        }
        for status in statuses
    }
    return {str(operation.status): good, **problems}
