"""Which product answers, and which version: known without any privilege where the server lets it be known.

`GET /` says both but may be refused or missing. Elasticsearch names itself in a header of every answer since 7.14.
What the connector does hangs on probes and on the product, never on the version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.elasticsearch.transport import Answer, Transport
from state.errors import ConfigurationError

_DOING = "asking the search server what it is"
_CLOSED = (403, 404, 405)


@dataclass(frozen=True)
class Product:
    """`version` is empty where the server does not tell it to this user."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version or '(version not told)'}"

    @property
    def is_elasticsearch(self) -> bool:
        return self.name == "Elasticsearch"


async def detect(transport: Transport) -> Product:
    """Raises `ConfigurationError` if something else answers, or a version without points in time."""
    root = await transport.call("source.product", _DOING, "GET", "/", accept=_CLOSED)
    about = _object(root)
    version = about.get("version")
    if root.status == 200 and not (isinstance(version, Mapping) and "number" in version):
        raise ConfigurationError(
            f"{_DOING}: the answer is none of Elasticsearch's or OpenSearch's",
            hint="Check source_system.endpoint; something else than a search server answers there.",
            code="product",
        )
    if isinstance(version, Mapping) and "number" in version:
        name = "OpenSearch" if version.get("distribution") == "opensearch" else "Elasticsearch"
        return _supported(Product(name, str(version["number"])))
    return _supported(Product(_by_header(root), await _by_nodes(transport)))


def _by_header(answer: Answer) -> str:
    return "Elasticsearch" if "x-elastic-product" in answer.headers else "OpenSearch"


async def _by_nodes(transport: Transport) -> str:
    target = "/_nodes/_local?filter_path=nodes.*.version"
    nodes = _object(await transport.call("source.product", _DOING, "GET", target, accept=_CLOSED)).get("nodes")
    versions = [node.get("version", "") for node in nodes.values()] if isinstance(nodes, Mapping) else []
    return str(min(versions, default=""))


def _supported(product: Product) -> Product:
    first = product.version.partition(".")[0]
    oldest = 7 if product.is_elasticsearch else 2
    if first.isdigit() and int(first) < oldest:
        raise ConfigurationError(
            f"{product} is too old: it has no points in time",
            hint="Elasticsearch 7.17 and OpenSearch 2.4 are the oldest that can be read.",
            code="product",
        )
    return product


def _object(answer: Answer) -> Mapping[str, Any]:
    try:
        value = json.loads(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}
