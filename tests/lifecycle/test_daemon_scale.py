"""200 pipelines side by side with windows of one minute for 90 seconds, from a server that is written to.

`tests/soak/soak_daemon.py` goes on for 30 minutes, and judges the lag of the event loop.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lifecycle.daemon_scale import run_for
from tests.servers.search import ES8, SearchServer

PIPELINES, SECONDS = 200, 90


@pytest.mark.parametrize("server", [ES8], indirect=True)
def test_every_window_of_every_pipeline_is_loaded_while_the_source_is_written_to(
    server: SearchServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    found = run_for(tmp_path, server, PIPELINES, SECONDS)
    with capsys.disabled():
        print(f"\n{found}")
    assert found.windows >= PIPELINES
    assert found.missed == 0
    assert found.most_series <= 50
