"""The world of tests/lifecycle with a search server as its source: whole runs into a DuckDB target."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.config import parse_config
from service.events import Event
from service.settings import PipelineConfig
from state.errors import ConfigurationError
from state.model import Run, RunStatus
from tests.lifecycle.world import World, defaults, merged

ATTEMPTS = 6


@dataclass(frozen=True)
class SearchWorld(World):
    """`source`: settings of the source system beside endpoint and index. `heard`: the events of all runs."""

    source: dict[str, Any] = field(default_factory=dict)
    heard: list[Event] = field(default_factory=list)

    @property
    def config(self) -> PipelineConfig:
        base = defaults(self.root)
        base["source_system"] = {"type": "elasticsearch", "cursor": "at"} | self.source
        base["target_system"] |= {"key": ["_id"], "version": "read_at"}
        base["windows"]["width"] = "2h"
        return parse_config(merged(base, self.settings))

    def finished(self) -> Run:
        """The run of the one window, tried as the service tries it until it ends or waits for a person."""
        for _ in range(ATTEMPTS):
            with suppress(ConfigurationError):  # where the source is gone, the next look for work says so too
                self.run(emit=self.heard.append)
            [run] = self.runs()
            if run.status is not RunStatus.FAILED or run.quarantined_at is not None:
                return run
        return run

    def rows(self, *columns: str) -> list[tuple]:
        """These columns of the target, ordered by them."""
        return self.query(f"SELECT {', '.join(columns)} FROM events ORDER BY ALL")


def search_world(root: Path, url: str, index: str, source: dict | None = None, **settings: Any) -> SearchWorld:
    return SearchWorld(root, settings, {"endpoint": url, "index": index, **(source or {})})
