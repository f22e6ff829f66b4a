"""Memory and idleness of a worker on a real search server, measured in processes of their own.

The size of a year of flights, four times over, against a sixteenth of it.
"""

from __future__ import annotations

import pytest

from tests.e2e.flights import indexed
from tests.e2e.measured import TIMES, answer, extraction, highest, require_bounded, started
from tests.servers.search import ES8

SMALL, LARGE = 84_000, 1_347_000
IDLE_SECONDS = 60
SHARE = 0.005
"""Of one core."""

pytestmark = pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)


def test_memory_is_bounded_and_idleness_is_nearly_free(server, tmp_path):
    """The idle worker idles beside the rest: CPU time is its own, however busy the machine is."""
    empty = server.client.new_index({"time_hour": {"type": "date"}})
    with started("tests.e2e.idling", tmp_path / "idle", server.url, empty, IDLE_SECONDS) as idle:
        small, large = (indexed(server.client, rows) for rows in (SMALL, LARGE))
        least = highest(tmp_path / "small", server.url, small, TIMES)
        most = extraction(tmp_path / "large", server.url, large)
        used = float(answer(idle))
    print(f"idle for {IDLE_SECONDS} s: {used:.3f} s of CPU")
    assert (least["rows"], most["rows"]) == (SMALL, LARGE)
    require_bounded(least, most)
    assert used < SHARE * IDLE_SECONDS
