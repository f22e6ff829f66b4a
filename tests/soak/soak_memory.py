"""Memory with parts of the default size: one part in the small index, two at a time in the large one."""

from __future__ import annotations

import pytest

from tests.e2e.flights import indexed
from tests.e2e.measured import MOST_MIB, extraction
from tests.servers.search import ES8

SMALL, LARGE = 84_000, 1_347_000
DEFAULT_ROWS_PER_PART = 500_000


@pytest.mark.parametrize("server", [ES8], indirect=True, ids=str)
def test_memory_is_bounded_with_parts_of_the_default_size(server, tmp_path):
    print()
    for rows, parts in ((SMALL, 1), (LARGE, 3)):
        index = indexed(server.client, rows)
        told = extraction(tmp_path / str(rows), server.url, index, DEFAULT_ROWS_PER_PART)
        assert (told["rows"], told["parts"]) == (rows, parts)
        assert told["peak_mib"] <= MOST_MIB
