"""Archives without a server: which places are taken, what a store's words mean, and files in a folder."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import ValidationError

from loaders.archive import Archive
from loaders.archive_settings import ArchiveAccess, ArchivePlace
from loaders.archive_store import MEANINGS, explain
from service.settings import StageCleaning
from state.errors import ConfigurationError, PermanentError, TransientError
from state.model import Chunk
from state.port import direct
from tests.contract.loader_desk import breaking

CANARY = "canary-77ab"


@pytest.mark.parametrize(
    "url",
    ["archive", "/mnt/archive", "s3://bucket", "s3://b.u-k_et/a/b/", "gs://bucket/x", "@DB.SCHEMA.STAGE/kept"],
)
def test_a_place_is_a_folder_a_bucket_or_a_stage(url):
    assert StageCleaning(archive=url).place == ArchivePlace(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"s3://key:{CANARY}@bucket/x", "under archive_access"),
        (f"s3://bucket/x?secret_key={CANARY}", "under archive_access"),
        (f"s3://bucket/x#{CANARY}", "under archive_access"),
        (f"https://bucket/{CANARY}", "neither a folder nor like"),
        ("file:///mnt/archive", "neither a folder nor like"),
        (f"s3:///{CANARY}", "does not name a bucket"),
        ("s3://bucket//x", "an empty part"),
        ("gs://bucket/../other", "one of . and .."),
    ],
)
def test_any_other_place_is_refused_and_credentials_are_not_repeated_x9(url, words):
    with pytest.raises(ValidationError) as caught:
        StageCleaning(archive=url)
    [error] = caught.value.errors()
    assert words in error["msg"]
    assert CANARY not in error["msg"]


def test_a_place_that_does_not_end_in_a_slash_is_the_one_that_does():
    assert ArchivePlace("s3://bucket/a/").store == ArchivePlace("s3://bucket/a").store == ("s3", "bucket/a")
    assert ArchivePlace("@STAGE/a").stage == "@STAGE/a"


async def test_a_stage_of_the_warehouse_is_not_for_every_target(tmp_path):
    with pytest.raises(ConfigurationError, match="@STAGE") as caught:
        await Archive(ArchivePlace("@STAGE"), direct).keep(Chunk("a", 1, 1, ""), tmp_path)
    assert caught.value.path == "phases.stage_cleaning.archive"


AWS = "When initiating multiple part upload for key 'k' in bucket 'b': AWS Error "
UNNAMED = "during CreateMultipartUpload operation: Unable to parse ExceptionName: "
GOOGLE = "google::cloud::Status({}: Permanent error, with a last message of no error_info={{}})"

WORDS = {
    f"{AWS}NO_SUCH_BUCKET during CreateMultipartUpload operation: The specified bucket…": "archive_bucket",
    GOOGLE.format("NOT_FOUND"): "archive_bucket",
    f"{AWS}INVALID_ACCESS_KEY_ID during HeadObject operation: …": "archive_credentials",
    f"{AWS}SIGNATURE_DOES_NOT_MATCH during CreateMultipartUpload operation: …": "archive_credentials",
    f"{AWS}UNKNOWN (HTTP status 400) {UNNAMED}ExpiredToken Message: …": "archive_credentials",
    GOOGLE.format("UNAUTHENTICATED"): "archive_credentials",
    f"{AWS}ACCESS_DENIED during HeadObject operation: No response body.": "archive_denied",
    GOOGLE.format("PERMISSION_DENIED"): "archive_denied",
    f"{AWS}SLOW_DOWN during UploadPart operation: …": "archive_throttled",
    f"{AWS}UNKNOWN (HTTP status 429) during HeadObject operation: No response body.": "archive_throttled",
    GOOGLE.format("RESOURCE_EXHAUSTED"): "archive_throttled",
    f"{AWS}NETWORK_CONNECTION during HeadObject operation: curlCode: 6, Could not resolve hostname": (
        "archive_endpoint"
    ),
    f"{AWS}UNKNOWN (HTTP status 400) {UNNAMED}AuthorizationHeaderMalformed Message: …": "archive_endpoint",
    f"{AWS}UNKNOWN (HTTP status 301) during HeadObject operation: No response body.": "archive_endpoint",
    f"{AWS}NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Could not connect": "archive_unreachable",
    f"{AWS}INTERNAL_FAILURE during UploadPart operation: …": "archive_unreachable",
    f"{AWS}SERVICE_UNAVAILABLE during UploadPart operation: …": "archive_unreachable",
    GOOGLE.format("UNAVAILABLE"): "archive_unreachable",
    "something that nobody has seen yet": "archive_store",
}
"""What stores say through Arrow, and what it means."""


@pytest.mark.parametrize("words", WORDS)
def test_an_answer_of_a_store_is_told_by_what_to_do_next(words):
    error = explain("s3://b/a", OSError(words))
    assert error.code == WORDS[words]
    settings = {"archive_bucket", "archive_credentials", "archive_denied", "archive_endpoint"}
    assert isinstance(error, ConfigurationError if error.code in settings else TransientError)
    assert "s3://b/a" in error.message
    assert error.hint


def test_every_meaning_has_its_answer_here():
    def row(words: str) -> int:
        return next(n for n, meaning in enumerate(MEANINGS) if re.search(meaning.answer, words))

    assert {row(words) for words in WORDS} == set(range(len(MEANINGS)))


def test_what_a_server_says_besides_its_code_is_not_repeated_x9():
    words = f"{AWS}ACCESS_DENIED during HeadObject operation: you sent {CANARY}, {GOOGLE.format('X')} {CANARY}"
    error = explain("s3://b/a", OSError(words))
    assert CANARY not in error.message + error.hint
    assert error.message == "the archive s3://b/a denies access: ACCESS_DENIED HeadObject"


def test_a_key_is_only_given_with_its_secret():
    with pytest.raises(ValidationError, match="belong together"):
        ArchiveAccess.model_validate({"access_key": {"env": "KEY"}})


async def test_a_secret_that_is_not_set_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    keys = {"access_key": {"env": "NO_SUCH_KEY"}, "secret_key": {"env": "NO_SUCH_KEY"}, "region": "us-east-1"}
    place = ArchivePlace("s3://bucket", ArchiveAccess.model_validate(keys))
    with pytest.raises(ConfigurationError, match="NO_SUCH_KEY"):
        await Archive(place, direct).keep(Chunk("a", 1, 1, ""), tmp_path)


def chunk_of(folder: Path, data: bytes = b"rows") -> tuple[Chunk, Path]:
    path = folder / "staged"
    path.write_bytes(data)
    return Chunk("events/0123/p1.parquet", 1, len(data), hashlib.sha256(data).hexdigest()), path


async def test_a_file_is_kept_once_and_read_back(tmp_path):
    chunk, path = chunk_of(tmp_path)
    archive = Archive(ArchivePlace(str(tmp_path / "archive")), direct)
    assert await archive.keep(chunk, path) is True
    kept = tmp_path / "archive" / chunk.name
    written = kept.stat().st_mtime_ns
    path.unlink()
    assert await archive.keep(chunk, path) is False
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == (b"rows", written)


@pytest.mark.parametrize("there", [b"row", b"rowz", b""])
async def test_a_truncated_or_other_file_of_that_name_is_an_error_and_stays(tmp_path, there):
    chunk, path = chunk_of(tmp_path)
    kept = tmp_path / "archive" / chunk.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(there)
    with pytest.raises(PermanentError, match="holds other bytes") as caught:
        await Archive(ArchivePlace(str(tmp_path / "archive")), direct).keep(chunk, path)
    assert caught.value.code == "archive_differs"
    assert kept.read_bytes() == there


async def test_the_stage_that_is_cleaned_is_no_archive_whatever_it_is_called(tmp_path):
    """What is in it was taken for archived, and then removed."""
    chunk, _ = chunk_of(tmp_path)
    staged = tmp_path / "stage" / chunk.name
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"rows")
    (tmp_path / "other name").symlink_to(tmp_path / "stage")
    for name in ("stage", "other name"):
        with pytest.raises(ConfigurationError, match="nothing would be kept") as caught:
            await Archive(ArchivePlace(str(tmp_path / name)), direct).keep(chunk, staged)
        assert caught.value.path == "phases.stage_cleaning.archive"
    assert await Archive(ArchivePlace(str(tmp_path / "stage" / "kept")), direct).keep(chunk, staged) is True


async def test_a_file_that_was_cut_off_is_not_there_under_its_name(tmp_path):
    chunk, path = chunk_of(tmp_path)
    port = breaking("loader.archive.rename")
    archive = Archive(ArchivePlace(str(tmp_path / "archive")), port)
    with pytest.raises(TransientError):
        await archive.keep(chunk, path)
    assert not (tmp_path / "archive" / chunk.name).exists()
    port.broken = False
    assert await archive.keep(chunk, path) is True


async def test_a_folder_that_may_not_be_used_names_the_setting(tmp_path):
    chunk, path = chunk_of(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        await Archive(ArchivePlace(str(path)), direct).keep(chunk, path)
    assert caught.value.path == "phases.stage_cleaning.archive"


@pytest.mark.parametrize("name", ["archive", "archive/of/many/years"])
async def test_doctor_writes_into_a_folder_or_the_one_above_and_leaves_nothing(tmp_path, name):
    (tmp_path / "archive").mkdir()
    ports = []

    def port(effect: str):
        ports.append(effect)
        return nullcontext()

    found = await Archive(ArchivePlace(str(tmp_path / name)), port).check("events")
    assert (found.ok, ports) == (True, ["loader.archive.probe"])
    assert [path.name for path in tmp_path.rglob("*")] == ["archive"]


async def test_a_folder_whose_disk_takes_nothing_is_told_by_doctor_though_its_mode_allows_it(
    tmp_path, monkeypatch
):
    def full(*_given, **_more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ConfigurationError, match="read-only file system") as caught:
        await Archive(ArchivePlace(str(tmp_path)), direct).check("events")
    assert caught.value.path == "phases.stage_cleaning.archive"
