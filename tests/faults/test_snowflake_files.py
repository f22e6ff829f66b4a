"""A name in the stage that other bytes have already (§12.1, 35), and a queue that is full for too long (42).

That a file of other columns than the contract's is refused (38, F-9) before COPY, which is where the columns of a
staged file are looked at, shows `test_a_file_of_other_columns_is_refused_before_copy_f9` in
tests/contract/test_loader_snowflake_races.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.events import RunFailed
from state.errors import RestartAttempt
from state.model import RunStatus
from tests.contract.loader_desk import CONTRACT, Desk, attempt, desk, manifest_of, rows
from tests.contract.loader_snowflake import SnowflakePlace
from tests.faults.test_snowflake_runs import world_of
from tests.lifecycle.snowflake_world import fault, require_whole, until_done
from tests.snowflake.running import Place


@pytest.fixture
async def d(place: Place) -> AsyncIterator[Desk]:
    target = SnowflakePlace(place)
    async with desk(lambda _folder: target) as made:
        yield made
    await target.aclose()


def put_by_hand(d: Desk, name: str, data: bytes) -> None:
    """Somebody's file under the name of a chunk."""
    folder, _, last = name.rpartition("/")
    path = d.folder / "by-hand" / last
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    d.place.query(f"PUT 'file://{path}' '@LANDING/{folder}/' AUTO_COMPRESS = FALSE OVERWRITE = TRUE")


def staged_bytes(d: Desk, name: str) -> bytes:
    folder = d.folder / "back"
    folder.mkdir(exist_ok=True)
    d.place.query(f"GET '@LANDING/{name}' 'file://{folder}/'")
    return (folder / Path(name).name).read_bytes()


@pytest.mark.parametrize("same_size", [True, False])
async def test_35_a_name_that_holds_other_bytes_is_written_over_and_its_rows_are_the_chunks(
    d: Desk, same_size: bool
):
    loader = d.loader()
    identity = await loader.prepare(CONTRACT)
    await loader.raise_fence(attempt())
    chunk, path = d.file(attempt().run, rows(("a", 1, 1), ("b", 1, 2)))
    other, elsewhere = d.file(attempt().run, rows(("a", 1, 8), ("x", 1, 9)))
    put_by_hand(d, chunk.name, elsewhere.read_bytes() if same_size else b"something else")
    assert (other.bytes == chunk.bytes) or not same_size
    await loader.put(attempt(), chunk, path)
    assert hashlib.sha256(staged_bytes(d, chunk.name)).hexdigest() == chunk.sha256
    manifest = manifest_of(attempt().run.window, [chunk])
    copied = await loader.copy(attempt(), manifest, CONTRACT)
    await loader.merge(attempt(), manifest, CONTRACT, copied.table, identity)
    assert d.values() == {"a": 1, "b": 2}


async def test_35_an_upload_that_snowflake_skipped_is_never_taken_for_done(d: Desk, monkeypatch):
    monkeypatch.setattr("state.snowflake.session.PUT_OPTIONS", "AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = NONE")
    loader = d.loader()
    await loader.prepare(CONTRACT)
    chunk, path = d.file(attempt().run, rows(("a", 1, 1)))
    put_by_hand(d, chunk.name, b"something else")
    with pytest.raises(RestartAttempt, match="SKIPPED"):
        await loader.put(attempt(), chunk, path)
    assert staged_bytes(d, chunk.name) == b"something else"


QUEUED = {
    "act": "error",
    "code": "000630",
    "state": "57014",
    "message": "Statement reached its queued timeout of 1 second(s) in the warehouse queue and was canceled.",
    "sql": "^(COPY INTO|WITH s AS)",
}


def test_42_a_statement_that_was_queued_for_too_long_is_tried_again_and_the_run_goes_on(
    place: Place, tmp_path: Path
):
    world, heard = world_of(place, tmp_path, {"limits": {"tries_per_phase": 1}}), []
    with fault(place, times=1, **QUEUED) as told:
        world.run(emit=heard.append)
        run = until_done(world)
    assert told["fired"] == 1
    [failed] = [event.failure for event in heard if isinstance(event, RunFailed)]
    assert (failed.kind, failed.code) == ("transient", "queued_timeout")
    assert (run.status, run.attempts, run.quarantined_at) == (RunStatus.COMPLETED, 2, None)
    require_whole(world)


def test_42_a_queue_that_stays_full_ends_in_quarantine_with_advice(place: Place, tmp_path: Path):
    world = world_of(place, tmp_path, {"limits": {"tries_per_phase": 2, "attempts_per_error_class": 2}})
    with fault(place, times=None, **QUEUED) as told:
        run = until_done(world)
    assert (run.status, run.failure.code, run.attempts) == (RunStatus.FAILED, "queued_timeout", 2)
    assert run.quarantined_at is not None
    assert "more clusters" in run.failure.hint
    assert told["fired"] == 4
    assert world.receipts() == []
