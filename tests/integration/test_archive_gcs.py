"""Archives in a bucket of Google Cloud Storage, through Google's client; the server checks no credentials."""

from __future__ import annotations

from math import inf

import pytest

from loaders.archive import Archive
from loaders.archive_settings import ArchiveAccess, ArchivePlace
from state.errors import ConfigurationError, PermanentError, TransientError
from state.port import direct
from tests.integration.test_archive import MEGABYTE, chunk_of
from tests.servers.mariadb import free_port
from tests.servers.proxy import answer
from tests.servers.s3 import S3Proxy


@pytest.fixture
def bucket(gcs, monkeypatch) -> str:
    """A fresh bucket; the machine's own credentials are a service account."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(gcs.key_file))
    return gcs.bucket()


def archive_in(bucket: str, endpoint: str) -> Archive:
    return Archive(ArchivePlace(f"gs://{bucket}/kept", ArchiveAccess(endpoint=endpoint)), direct)


@pytest.mark.parametrize("size", [1000, 20 * MEGABYTE])
async def test_a_chunk_is_in_the_bucket_under_its_name_and_is_written_once(gcs, bucket, tmp_path, size):
    chunk, path = chunk_of(tmp_path, size)
    assert await archive_in(bucket, gcs.url).keep(chunk, path) is True
    assert gcs.objects(bucket) == {f"kept/{chunk.name}": path.read_bytes()}
    path.unlink()
    assert await archive_in(bucket, gcs.url).keep(chunk, path) is False


async def test_another_object_of_that_name_is_an_error_and_stays(gcs, bucket, tmp_path):
    chunk, path = chunk_of(tmp_path)
    await archive_in(bucket, gcs.url).keep(chunk, path)
    before = gcs.objects(bucket)
    other, path = chunk_of(tmp_path)
    with pytest.raises(PermanentError, match=f"gs://{bucket}/kept/{other.name} holds other bytes"):
        await archive_in(bucket, gcs.url).keep(other, path)
    assert gcs.objects(bucket) == before


async def test_an_upload_that_is_cut_off_leaves_no_object_and_can_be_repeated(gcs, bucket, tmp_path):
    chunk, path = chunk_of(tmp_path, 20 * MEGABYTE)
    with S3Proxy(gcs.url) as proxy:
        rule = proxy.on(lambda request: request.method == "PUT", answer(503), nth=2, times=inf)
        archive = archive_in(bucket, proxy.url)
        with pytest.raises(TransientError):
            await archive.keep(chunk, path)
        assert rule.count >= 2
        assert gcs.objects(bucket) == {}
        rule.times = 0
        assert await archive.keep(chunk, path) is True
    assert gcs.objects(bucket) == {f"kept/{chunk.name}": path.read_bytes()}


async def test_a_bucket_that_is_not_there_is_named(gcs, bucket, tmp_path):
    chunk, path = chunk_of(tmp_path)
    with pytest.raises(ConfigurationError, match="gs://no-such-bucket/kept has no such bucket") as caught:
        await archive_in("no-such-bucket", gcs.url).keep(chunk, path)
    assert caught.value.path == "phases.stage_cleaning.archive"


async def test_a_store_that_cannot_be_reached_is_tried_again_later(bucket, tmp_path):
    chunk, path = chunk_of(tmp_path)
    with pytest.raises(TransientError) as caught:
        await archive_in(bucket, f"http://127.0.0.1:{free_port()}").keep(chunk, path)
    assert caught.value.code == "archive_unreachable"


async def test_doctor_writes_a_file_reads_it_back_and_removes_it(gcs, bucket):
    found = await archive_in(bucket, gcs.url).check("events")
    assert (found.ok, "removed again" in found.found) == (True, True)
    assert gcs.objects(bucket) == {}
    with pytest.raises(ConfigurationError) as caught:
        await archive_in("no-such-bucket", gcs.url).check("events")
    assert caught.value.code == "archive_bucket"
