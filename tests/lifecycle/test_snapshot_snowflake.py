"""Mode snapshot into Snowflake, through the whole service: changed, emptied, filled again."""

from __future__ import annotations

from pathlib import Path

from state.model import Phase, RunStatus
from tests.lifecycle.snowflake_world import SnowflakeWorld
from tests.lifecycle.test_snapshot_mode import COUNTRIES, fill
from tests.lifecycle.world import HOUR, START
from tests.snowflake.running import Place


def test_a_table_is_replaced_whole_also_by_none_and_by_some_again(place: Place, tmp_path: Path):
    def after(hours: int) -> SnowflakeWorld:
        target = {"mode": "snapshot", "key": ["code"], "version": "read_at", "snapshot": {"allow_empty": True}}
        windows = {"end": (START + hours * HOUR).isoformat()}
        settings = {
            "windows": windows,
            "target_system": target,
            "source_system": {"cursor": None, "key": ["code"]},
        }
        return SnowflakeWorld(tmp_path, settings, place.connection)

    after(1).made()
    for number, countries in enumerate((COUNTRIES, {"at": "Österreich", "fr": "France"}, {}, COUNTRIES), 1):
        world = after(3 * number)
        fill(world, countries)
        [run] = world.run()
        assert run.status is RunStatus.COMPLETED
        figures = run.phases[Phase.AUDIT].figures
        assert (figures["validation_status"], figures["target_count"]) == ("PASSED", len(countries))
        assert dict(world.query("SELECT code, name FROM events")) == countries
    assert (len(world.receipts()), world.left_in_stage()) == (4, [])
