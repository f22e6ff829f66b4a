"""The small world of lifecycle tests with a table of MariaDB as its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from service.config import parse_config
from service.settings import PipelineConfig
from tests.integration.mysql_source import MysqlPlace
from tests.lifecycle.world import World, defaults, merged


@dataclass(frozen=True)
class MysqlPipeline(World):
    """`source` is more of `source_system`."""

    place: MysqlPlace
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> PipelineConfig:
        base = defaults(self.root) | {"source_system": self.place.source(**self.source)}
        return parse_config(merged(base, self.settings))
