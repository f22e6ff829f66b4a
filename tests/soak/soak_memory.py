"""Memory of an extraction at its full size: a year of flights, four times over."""

from __future__ import annotations

import pytest

from tests.e2e.flights import indexed
from tests.e2e.measured import MOST_MIB, TIMES, extraction, highest, require_bounded
from tests.servers.search import ES8

SMALL, LARGE = 84_000, 1_347_000
DEFAULT_ROWS_PER_PART = 500_000


@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_memory_does_not_grow_with_the_number_of_documents(server, tmp_path):
    """With the default size of parts the small one is a single part, the large one has two at a time."""
    print()
    small, large = (indexed(server.client, rows) for rows in (SMALL, LARGE))
    least = highest(tmp_path / "small", server.url, small, TIMES)
    most = extraction(tmp_path / "large", server.url, large)
    assert (least["rows"], most["rows"]) == (SMALL, LARGE)
    require_bounded(least, most)
    assert extraction(tmp_path / "1", server.url, small, DEFAULT_ROWS_PER_PART)["parts"] == 1
    assert extraction(tmp_path / "3", server.url, large, DEFAULT_ROWS_PER_PART)["peak_mib"] <= MOST_MIB
