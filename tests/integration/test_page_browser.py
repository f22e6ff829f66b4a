"""The status page in a real Chromium: `page_visit.py` tells what a person does there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.test_admin_api import OPERATE, READ
from tests.integration.test_page import broken, browsing
from tests.lifecycle.test_daemon import enrol, world
from tests.servers.chromium import OPTIONS, PLAYWRIGHT
from tests.servers.mariadb import program

VISIT = Path(__file__).parent / "page_visit.py"


def test_a_person_looks_around_plans_a_backfill_confirms_it_and_sees_it_through_with_and_without_scripts(
    tmp_path, monkeypatch
):
    one, other = world(tmp_path, "events"), world(tmp_path, "clicks")
    enrol(tmp_path, one, other)
    (tmp_path / "configs" / "bad.yaml").write_text("config_version: 1\n")
    shots = tmp_path / "shots"
    shots.mkdir()

    async def go():
        async with browsing(tmp_path, monkeypatch, runs=4) as browser:
            browser.daemon.pipelines["events"].attendant.know([await broken(browser.drive)])
            command = [PLAYWRIGHT.python(), VISIT, program("chromium"), " ".join(OPTIONS), browser.base]
            visit = await asyncio.create_subprocess_exec(
                *map(str, command), OPERATE, READ, str(shots), stderr=asyncio.subprocess.PIPE
            )
            _, said = await visit.communicate()
            assert visit.returncode == 0, said.decode()

    asyncio.run(go())
    assert len(list(shots.iterdir())) == 13
    assert other.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]
