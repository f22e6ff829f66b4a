"""Archives in a bucket: whole or not at all, read back, never replaced; what a store's answers mean (F-18, X-9).

The server checks signatures and rights (`tests/servers/s3.py`): the first test shows it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from math import inf
from pathlib import Path

import pytest
from pyarrow import fs

from loaders.archive import Archive
from loaders.archive_settings import ArchiveAccess, ArchivePlace
from state.errors import ConfigurationError, PermanentError, TransientError
from state.model import Chunk, Phase, PhaseStatus, RunStatus
from state.port import direct
from tests.contract.loader_desk import losing_answer
from tests.lifecycle.world import World, events
from tests.servers.proxy import answer, first, reset_after, reset_before
from tests.servers.s3 import OWNER, READER, SECRETS, STRANGER, S3Proxy, S3Server, access

MEGABYTE = 1 << 20


def chunk_of(
    folder: Path, size: int = 1000, name: str = "events/0123456789ab/p00001.parquet"
) -> tuple[Chunk, Path]:
    """A staged file of random bytes, and the chunk that names it."""
    data = os.urandom(size)
    path = folder / "staged"
    path.write_bytes(data)
    return Chunk(name, 1, size, hashlib.sha256(data).hexdigest()), path


def flipped(data: bytes) -> bytes:
    """Other bytes of the same length."""
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.bucket()


@pytest.fixture
def given(s3: S3Server, monkeypatch) -> ArchiveAccess:
    """The owner's access."""
    return access(monkeypatch, s3.url)


def test_the_server_of_these_tests_refuses_a_wrong_secret(s3, bucket):
    def client(secret: str) -> fs.FileSystem:
        host = s3.url.removeprefix("http://")
        keys = {"access_key": OWNER, "secret_key": secret}
        return fs.S3FileSystem(**keys, endpoint_override=host, scheme="http", region="us-east-1")

    with client(SECRETS[OWNER]).open_output_stream(f"{bucket}/right") as stream:
        stream.write(b"1")
    with pytest.raises(OSError, match="SIGNATURE_DOES_NOT_MATCH"):
        client(SECRETS[OWNER] + "x").open_output_stream(f"{bucket}/wrong")
    assert s3.objects(bucket) == {"right": b"1"}


@pytest.mark.parametrize("size", [0, 1000, 12 * MEGABYTE, 26 * MEGABYTE])
async def test_a_chunk_is_in_the_bucket_under_its_name_and_is_written_once(s3, bucket, given, tmp_path, size):
    chunk, path = chunk_of(tmp_path, size)
    archive = Archive(ArchivePlace(f"s3://{bucket}/kept/here", given), direct)
    assert await archive.keep(chunk, path) is True
    assert s3.objects(bucket) == {f"kept/here/{chunk.name}": path.read_bytes()}
    path.unlink()
    assert await archive.keep(chunk, path) is False  # it is there, by what is read back


async def test_a_bucket_without_a_prefix_will_do(s3, bucket, given, tmp_path):
    chunk, path = chunk_of(tmp_path)
    await Archive(ArchivePlace(f"s3://{bucket}/", given), direct).keep(chunk, path)
    assert list(s3.objects(bucket)) == [chunk.name]


@pytest.mark.parametrize("change", [lambda data: data[:-1], flipped])
async def test_a_truncated_or_other_object_of_that_name_is_an_error_and_stays(s3, bucket, given, tmp_path, change):
    chunk, path = chunk_of(tmp_path)
    other = change(path.read_bytes())
    s3.put(f"{bucket}/a/{chunk.name}", other)
    with pytest.raises(PermanentError, match=f"s3://{bucket}/a/{chunk.name} holds other bytes") as caught:
        await Archive(ArchivePlace(f"s3://{bucket}/a", given), direct).keep(chunk, path)
    assert caught.value.code == "archive_differs"
    assert s3.objects(bucket) == {f"a/{chunk.name}": other}


async def test_a_changed_staged_file_is_not_archived(s3, bucket, given, tmp_path):
    chunk, path = chunk_of(tmp_path)
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(PermanentError, match="was changed"):
        await Archive(ArchivePlace(f"s3://{bucket}/a", given), direct).keep(chunk, path)
    assert s3.objects(bucket) == {}


async def test_a_chunk_that_is_in_neither_place_is_an_error(bucket, given, tmp_path):
    chunk, path = chunk_of(tmp_path)
    path.unlink()
    with pytest.raises(PermanentError) as caught:
        await Archive(ArchivePlace(f"s3://{bucket}/a", given), direct).keep(chunk, path)
    assert caught.value.code == "archive_missing"


PART = 2
"""Uploads are cut into parts of 10 MiB and more: the second one of a file of 26."""


def part(request) -> bool:
    return request.method == "PUT" and "partNumber" in request.query


def complete(request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


CUTS = {
    "part not sent": (part, reset_before),
    "answer to a part lost": (part, reset_after),
    "part refused": (part, answer(500)),
    "end not sent": (complete, reset_before),
    "end refused": (complete, answer(503)),
}


@pytest.mark.parametrize("cut", CUTS)
async def test_an_upload_that_is_cut_off_leaves_no_object_and_can_be_repeated(
    s3, bucket, tmp_path, monkeypatch, cut
):
    which, act = CUTS[cut]
    chunk, path = chunk_of(tmp_path, 26 * MEGABYTE)
    with S3Proxy(s3.url) as proxy:
        rule = proxy.on(which, act, nth=PART if which is part else 1, times=inf)  # libcurl tries some again
        archive = Archive(ArchivePlace(f"s3://{bucket}/a", access(monkeypatch, proxy.url)), direct)
        with pytest.raises(TransientError) as caught:
            await archive.keep(chunk, path)
        assert caught.value.code == "archive_unreachable"
        assert s3.objects(bucket) == {}
        rule.times = 0
        assert await archive.keep(chunk, path) is True
    assert s3.objects(bucket) == {f"a/{chunk.name}": path.read_bytes()}


async def test_a_lost_answer_to_the_end_of_an_upload_is_no_second_object(s3, bucket, tmp_path, monkeypatch):
    chunk, path = chunk_of(tmp_path, 12 * MEGABYTE)
    with S3Proxy(s3.url) as proxy:
        rule = proxy.on(complete, reset_after, times=inf)
        archive = Archive(ArchivePlace(f"s3://{bucket}/a", access(monkeypatch, proxy.url)), direct)
        with pytest.raises(TransientError):
            await archive.keep(chunk, path)
        rule.times = 0
        before = len(proxy.seen(part))
        assert await archive.keep(chunk, path) is False
        assert len(proxy.seen(part)) == before
    assert s3.objects(bucket) == {f"a/{chunk.name}": path.read_bytes()}


async def test_a_server_that_dies_in_the_middle_may_be_tried_again(tmp_path, monkeypatch):
    server = S3Server().start()
    try:
        chunk, path = chunk_of(tmp_path, 26 * MEGABYTE)
        place = f"s3://{server.bucket()}/a"
        with S3Proxy(server.url) as proxy:
            proxy.on(part, first(lambda _request: server.stop()), nth=PART)
            archive = Archive(ArchivePlace(place, access(monkeypatch, proxy.url)), direct)
            with pytest.raises(TransientError):
                await archive.keep(chunk, path)
        with pytest.raises(TransientError) as caught:
            await Archive(ArchivePlace(place, access(monkeypatch, server.url)), direct).keep(chunk, path)
        assert (caught.value.code, path.stat().st_size) == ("archive_unreachable", chunk.bytes)
    finally:
        server.remove()


async def test_what_is_read_back_is_what_counts(s3, bucket, tmp_path, monkeypatch):
    """Somebody overwrites the object between the upload and the look."""
    chunk, path = chunk_of(tmp_path)
    with S3Proxy(s3.url) as proxy:
        looked = [
            lambda request: request.method == "HEAD",
            first(lambda _r: s3.put(f"{bucket}/a/{chunk.name}", b"x")),
        ]
        proxy.on(*looked, nth=2)
        archive = Archive(ArchivePlace(f"s3://{bucket}/a", access(monkeypatch, proxy.url)), direct)
        with pytest.raises(PermanentError, match="holds other bytes"):
            await archive.keep(chunk, path)


REFUSED = {
    "nobody": (STRANGER, SECRETS[STRANGER], ("archive_credentials", "archive_denied")),
    "wrong secret": (OWNER, "no-such-secret-55", ("archive_credentials", "archive_denied")),
    "no right to write": (READER, SECRETS[READER], ("archive_denied",)),
}
"""Who, with which secret, and how it is told: to a look, a store does not say why it refuses."""


@pytest.mark.parametrize("who", REFUSED)
async def test_who_may_not_write_is_told_which_setting_to_change(s3, bucket, tmp_path, monkeypatch, who):
    name, secret, codes = REFUSED[who]
    chunk, path = chunk_of(tmp_path)
    place = ArchivePlace(f"s3://{bucket}/a", access(monkeypatch, s3.url, name, secret))
    with pytest.raises(ConfigurationError) as caught:
        await Archive(place, direct).keep(chunk, path)
    assert caught.value.code in codes
    assert caught.value.path == "phases.stage_cleaning.archive"
    assert "archive_access" in caught.value.hint
    assert secret not in str(caught.value) + caught.value.hint
    assert s3.objects(bucket) == {}


async def test_a_bucket_that_is_not_there_is_named_and_not_made(s3, tmp_path, given):
    chunk, path = chunk_of(tmp_path)
    with pytest.raises(ConfigurationError, match="s3://no-such-bucket/a has no such bucket") as caught:
        await Archive(ArchivePlace("s3://no-such-bucket/a", given), direct).keep(chunk, path)
    assert caught.value.path == "phases.stage_cleaning.archive"
    assert "no-such-bucket" not in {info.path for info in s3.client.get_file_info(fs.FileSelector(""))}


async def test_an_address_that_nobody_knows_is_a_setting(tmp_path, monkeypatch):
    chunk, path = chunk_of(tmp_path)
    place = ArchivePlace("s3://bucket/a", access(monkeypatch, "http://no-such-host.invalid:9"))
    with pytest.raises(ConfigurationError) as caught:
        await Archive(place, direct).keep(chunk, path)
    assert caught.value.code == "archive_endpoint"
    assert "endpoint" in caught.value.hint


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_store_is_tried_again(s3, bucket, tmp_path, monkeypatch, status):
    chunk, path = chunk_of(tmp_path)
    with S3Proxy(s3.url) as proxy:
        rule = proxy.on(lambda request: True, answer(status), times=inf)
        archive = Archive(ArchivePlace(f"s3://{bucket}/a", access(monkeypatch, proxy.url)), direct)
        with pytest.raises(TransientError):
            await archive.keep(chunk, path)
        assert rule.count == 1  # no tries of its own: phases are tried again by the service
        rule.times = 0
        assert await archive.keep(chunk, path) is True


async def test_the_event_loop_is_never_blocked(s3, bucket, tmp_path, monkeypatch):
    """A store that does not answer keeps only its own thread: the loop's own work lets it go on."""
    chunk, path = chunk_of(tmp_path)
    asked, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_request) -> None:
        loop.call_soon_threadsafe(asked.set)
        go_on.wait()

    with S3Proxy(s3.url) as proxy:
        proxy.on(part, first(hold))
        archive = Archive(ArchivePlace(f"s3://{bucket}/a", access(monkeypatch, proxy.url)), direct)
        keeping = asyncio.create_task(archive.keep(chunk, path))
        await asked.wait()
        assert not keeping.done()
        go_on.set()
        assert await keeping is True


async def test_an_effect_whose_answer_was_lost_at_the_port_is_not_repeated(bucket, given, tmp_path):
    chunk, path = chunk_of(tmp_path)
    archive = Archive(ArchivePlace(f"s3://{bucket}/a", given), losing_answer("loader.archive.write"))
    with pytest.raises(TransientError):
        await archive.keep(chunk, path)
    assert await archive.keep(chunk, path) is False


async def test_doctor_writes_a_file_reads_it_back_and_removes_it(s3, bucket, given):
    found = await Archive(ArchivePlace(f"s3://{bucket}/not/yet", given), direct).check("events")
    assert (found.name, found.ok) == ("phases.stage_cleaning.archive", True)
    assert "removed again" in found.found
    assert s3.objects(bucket) == {}


async def test_doctor_tells_of_a_bucket_that_may_not_be_written_to(s3, bucket, monkeypatch):
    """Looking at it was enough for a key that may only read: the first archive told."""
    reader = access(monkeypatch, s3.url, READER)
    with pytest.raises(ConfigurationError, match="denies access") as caught:
        await Archive(ArchivePlace(f"s3://{bucket}/a", reader), direct).check("events")
    assert caught.value.code == "archive_denied"


@pytest.mark.parametrize("code", ["archive_bucket", "archive_credentials"])
async def test_doctor_tells_why_an_archive_cannot_be_used(s3, bucket, monkeypatch, code):
    wrong = code == "archive_credentials"
    given = access(monkeypatch, s3.url, secret="no-such-secret-55" if wrong else None)
    with pytest.raises(ConfigurationError) as caught:
        await Archive(ArchivePlace(f"s3://{bucket if wrong else 'no-such-bucket'}/a", given), direct).check("p")
    assert (caught.value.code, caught.value.path) == (code, "phases.stage_cleaning.archive")


async def test_doctor_is_content_with_an_archive_that_lets_nobody_remove_anything(s3, bucket, monkeypatch):
    with S3Proxy(s3.url) as proxy:
        proxy.on(lambda request: request.method == "DELETE", answer(403), times=inf)
        place = ArchivePlace(f"s3://{bucket}/a", access(monkeypatch, proxy.url))
        for _ in range(2):
            found = await Archive(place, direct).check("events")
            assert (found.ok, "stays there" in found.found) == (True, True)
    assert s3.objects(bucket) == {"a/sluiceway-doctor-events": b"sluiceway doctor"}


def world_of(root: Path, archive: str, given: ArchiveAccess) -> World:
    cleaning = {"archive": archive, "archive_access": given.model_dump(mode="json", exclude_none=True)}
    world = World(root, {"phases": {"stage_cleaning": cleaning}})
    world.write("day", events(120))
    return world


def staged(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / "stage")) for path in (root / "stage").rglob("*.parquet"))


def test_runs_archive_their_chunks_and_then_clean_the_stage(s3, bucket, given, tmp_path):
    runs = world_of(tmp_path, f"s3://{bucket}/kept", given).run()
    assert [run.phases[Phase.STAGE_CLEANING].status for run in runs] == [PhaseStatus.COMPLETED] * 2
    chunks = {f"kept/{chunk.name}": chunk.sha256 for run in runs for chunk in run.manifest.chunks}
    found = {key: hashlib.sha256(data).hexdigest() for key, data in s3.objects(bucket).items()}
    assert len(chunks) >= 4
    assert found == chunks
    assert staged(tmp_path) == []


def test_an_archive_that_fails_keeps_the_stage_and_the_run_is_completed(s3, tmp_path, given):
    runs = world_of(tmp_path, "s3://no-such-bucket", given).run()
    for run in runs:
        record = run.phases[Phase.STAGE_CLEANING]
        assert (run.status, record.status) == (RunStatus.COMPLETED, PhaseStatus.FAILED)
        assert "no such bucket" in record.figures["error"]
        assert "phases.stage_cleaning.archive" in record.figures["hint"]
    assert staged(tmp_path) == sorted(chunk.name for run in runs for chunk in run.manifest.chunks)
