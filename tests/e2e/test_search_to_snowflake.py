"""A real search server into Snowflake, all seven phases: every document once, JSON as VARIANT that answers."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.config import parse_config
from service.settings import PipelineConfig
from state.model import RunStatus
from tests.lifecycle.snowflake_world import DRIVES, SnowflakeWorld, snowflake_defaults
from tests.lifecycle.world import START, merged
from tests.servers.search import ES8
from tests.snowflake.running import Place

DOCUMENTS, WINDOWS = 240, 2


def document(number: int) -> dict[str, Any]:
    at = START + timedelta(seconds=30 * number)
    device = {"os": {"name": "linux", "version": number}, "tags": ["a", f"t{number}"], "big": 2**53 + 1 + number}
    return {"at": at.isoformat(), "n": number, "who": f"user {number}", "device": device}


class SearchToSnowflake(SnowflakeWorld):
    """The world of Snowflake with an index as its source."""

    @property
    def config(self) -> PipelineConfig:
        base = snowflake_defaults(self)
        base["source_system"] = {"type": "elasticsearch", "cursor": "at"} | self.settings["source"]
        base["target_system"] |= {"key": ["_id"], "version": "read_at"}
        return parse_config(merged(base, {"windows": {"width": "1h"}}))


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_every_document_is_in_snowflake_once_and_its_json_answers_by_path(
    server, place: Place, tmp_path: Path, drive: str
):
    properties = {"at": {"type": "date"}, "n": {"type": "long"}, "who": {"type": "keyword"}}
    index = server.client.new_index({**properties, "device": {"type": "object", "enabled": False}})
    server.client.put(index, {f"d{n:04d}": document(n) for n in range(DOCUMENTS)})
    source = {"endpoint": server.url, "index": index}
    world = SearchToSnowflake(tmp_path, {"source": source}, place.connection, drive)
    world.made()
    runs = world.run()
    assert [(run.status, run.failure) for run in runs] == [(RunStatus.COMPLETED, None)] * WINDOWS
    found = world.query(
        'SELECT "_ID", "AT", n, who, device:os:version::NUMBER, device:tags[1]::VARCHAR, device:big::NUMBER(38,0),'
        " TYPEOF(device) FROM events ORDER BY 1"
    )
    assert len(found) == DOCUMENTS
    for n, (key, at, number, who, version, tag, big, kind) in enumerate(found):
        assert (key, at, number, who) == (f"d{n:04d}", START + timedelta(seconds=30 * n), n, f"user {n}")
        assert (version, tag, big, kind) == (n, f"t{n}", 2**53 + 1 + n, "OBJECT")
    assert [json.loads(text) for (text,) in world.query('SELECT TO_JSON(device) FROM events ORDER BY "_ID"')] == [
        document(n)["device"] for n in range(DOCUMENTS)
    ]
    assert len(world.receipts()) == WINDOWS
    assert world.left_in_stage() == []
    assert world.run() == []
