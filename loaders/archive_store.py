"""Object stores as archives, through Arrow's own clients, and what their errors mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from loaders.archive_settings import PROBE, SETTING, ArchiveAccess
from state.checks import Check
from state.errors import ConfigurationError, RestartAttempt, SluicewayError, TransientError
from state.model import Chunk
from state.port import Port

BLOCK_BYTES = 8 << 20
"""Bytes read back at a time: each is a request."""
CONNECT_SECONDS = 10.0
TRIES_SECONDS = 10.0
"""Seconds that Google's client tries by itself, which cannot be switched off."""
REQUEST_SECONDS = 60.0
"""Seconds that a store may be silent."""


class ObjectStore:
    """A prefix of a bucket. An upload that does not end leaves no object, whatever ended it."""

    def __init__(self, scheme: str, root: str, access: ArchiveAccess, port: Port) -> None:
        self._scheme = scheme
        self._root = root
        self._port = port
        with store_errors(self._url):
            self._store = google(access) if scheme == "gs" else amazon(access)

    @property
    def _url(self) -> str:
        return f"{self._scheme}://{self._root}"

    def where(self, name: str) -> str:
        return f"{self._url}/{name}"

    def same(self, chunk: Chunk) -> bool | None:
        """The whole object is read back: its checksum in the store is only as good as who computed it."""
        path = f"{self._root}/{chunk.name}"
        with store_errors(self._url), self._port("loader.archive.read"):
            [found] = self._store.get_file_info([path])
            if found.type is fs.FileType.NotFound:
                return None
            if found.type is not fs.FileType.File or found.size != chunk.bytes:
                return False
            return self._digest(path) == chunk.sha256

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._store.open_input_stream(path) as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def write(self, chunk: Chunk, source: Path) -> None:
        """All bytes are in memory before the object is begun: Arrow's stream has no way to be given up, and one
        that ends early would be a shorter object."""
        data = source.read_bytes()
        if len(data) != chunk.bytes or hashlib.sha256(data).hexdigest() != chunk.sha256:
            raise RestartAttempt(
                f"the file of {chunk.name} is not what was written for it: size or SHA-256 differ",
                code="stage_file_changed",
            )
        with (
            store_errors(self._url),
            self._port("loader.archive.write"),
            self._store.open_output_stream(f"{self._root}/{chunk.name}") as stream,
        ):
            stream.write(data)

    def check(self, probe: str) -> Check:
        """The bucket is not looked at: who may write below a prefix need not be let see more."""
        path = f"{self._root}/{probe}"
        with store_errors(self._url):
            with self._port("loader.archive.probe"), self._store.open_output_stream(path) as stream:
                stream.write(PROBE)
            with self._port("loader.archive.read"), self._store.open_input_stream(path) as stream:
                same = stream.read() == PROBE
        if not same:
            said = f"{self.where(probe)} was written, and holds something else"
            return Check(SETTING, False, said, "Find out who else writes to the archive.")
        return Check(SETTING, True, f"{self._url} takes a file and gives it back; {self._removed(path)}")

    def _removed(self, path: str) -> str:
        """An archive need not let anybody remove what it has."""
        try:
            with self._port("loader.archive.probe"):
                self._store.delete_file(path)
        except OSError:
            return f"{path} stays there: it may not be removed"
        return "it was removed again"


def amazon(access: ArchiveAccess) -> fs.FileSystem:
    """A client of S3, or of what speaks it. Writes go on in the background because only then a part that failed
    keeps the object from being completed. No tries of its own: phases are tried again by the service."""
    endpoint = urlsplit(access.endpoint) if access.endpoint else None
    return fs.S3FileSystem(
        access_key=access.access_key.read() if access.access_key else None,
        secret_key=access.secret_key.read() if access.secret_key else None,
        region=access.region,
        scheme=endpoint.scheme if endpoint else None,
        endpoint_override=endpoint.netloc if endpoint else None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        background_writes=True,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )


def google(access: ArchiveAccess) -> fs.FileSystem:
    """A client of Google Cloud Storage with the machine's own credentials."""
    endpoint = urlsplit(access.endpoint) if access.endpoint else None
    return fs.GcsFileSystem(
        retry_time_limit=timedelta(seconds=TRIES_SECONDS),
        scheme=endpoint.scheme if endpoint else None,
        endpoint_override=endpoint.netloc if endpoint else None,
    )


@dataclass(frozen=True)
class Meaning:
    """What a store's answer means: a pattern of its code, the error, and what to do."""

    answer: str
    becomes: type[SluicewayError]
    code: str
    what: str
    hint: str


ACCESS = f"Look at the key or role that {SETTING}_access or the machine gives, and at its rights in the bucket."
AGAIN = "It is tried again by itself; the stage is kept until the archive is whole."

MEANINGS: tuple[Meaning, ...] = (
    Meaning(
        r"NO_SUCH_BUCKET|Status\(NOT_FOUND",
        ConfigurationError,
        "archive_bucket",
        "has no such bucket",
        f"Make the bucket, or name another one in {SETTING}.",
    ),
    Meaning(
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT|UNAUTHENTICATED"
        r"|EXPIRED_TOKEN|ExpiredToken|InvalidToken|HTTP status 401",
        ConfigurationError,
        "archive_credentials",
        "does not know these credentials",
        ACCESS,
    ),
    Meaning(
        r"ACCESS_DENIED|PERMISSION_DENIED|HTTP status 403",
        ConfigurationError,
        "archive_denied",
        "denies access",
        ACCESS,
    ),
    Meaning(
        r"SLOW_DOWN|SlowDown|THROTTL|TooManyRequests|BANDWIDTH|REQUEST_LIMIT|RESOURCE_EXHAUSTED|HTTP status 429",
        TransientError,
        "archive_throttled",
        "asks to go slower",
        AGAIN,
    ),
    Meaning(
        r"Could not resolve|Couldn't resolve",
        ConfigurationError,
        "archive_endpoint",
        "has an address that nobody knows",
        f"Correct {SETTING}_access.endpoint or region, or look at name resolution on this machine.",
    ),
    Meaning(
        r"HTTP status 30\d|PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 400",
        ConfigurationError,
        "archive_endpoint",
        "refuses the request: another region, or another endpoint",
        f"Set {SETTING}_access.region (and endpoint) to the bucket's own.",
    ),
    Meaning(
        r"NETWORK_CONNECTION|REQUEST_TIMEOUT|UNAVAILABLE|INTERNAL|DEADLINE_EXCEEDED|HTTP status 5\d\d|curlCode",
        TransientError,
        "archive_unreachable",
        "cannot be reached",
        AGAIN,
    ),
    Meaning(r"", TransientError, "archive_store", "gave an error", AGAIN),
)
"""The first row whose pattern is found decides."""

_AWS = re.compile(r"AWS Error (\w+(?: \(HTTP status \d+\))?)(?: during (\w+) operation)?(?:: (curlCode.*))?")
_GOOGLE = re.compile(r"\b([A-Z]+(?:_[A-Z]+)*): ")


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """A store's errors as the tree of `state.errors`."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise explain(url, error) from None  # the store's own words may repeat what it was sent


def explain(url: str, error: Exception) -> SluicewayError:
    """What an error means for the one who runs Sluiceway; of the store's words only its codes are repeated."""
    words = str(error)
    for meaning in MEANINGS:
        if re.search(meaning.answer, words):
            message = f"the archive {url} {meaning.what}{said(words)}"
            if meaning.becomes is ConfigurationError:
                return ConfigurationError(message, hint=meaning.hint, code=meaning.code, path=SETTING)
            return meaning.becomes(message, hint=meaning.hint, code=meaning.code)
    raise AssertionError("unreachable: the last row matches every error")


def said(words: str) -> str:
    """The code and operation in a store's words, and what the network said."""
    if found := _AWS.search(words):
        return f": {' '.join(part for part in found.groups() if part)}"
    found = _GOOGLE.search(words)
    return f": {found[1]}" if found else ""
