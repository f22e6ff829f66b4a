"""Stages: CREATE, DROP, LIST, REMOVE, PUT, GET, COPY FILES.

A stage is a folder. An internal one belongs to the server; an external one is the folder that its `file://` URL
names, or for `s3://bucket/…` (gcs, azure) the folder `external/s3/bucket/…` of the server's home.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from tests.snowflake.server import catalog, names, storage, vendor, wire
from tests.snowflake.server.model import Answer, Column, Name, SnowflakeError, Statement, done

FLAGS = re.IGNORECASE | re.DOTALL
STAGE = names.STAGE.pattern.replace("?P<quoted>", "?:").replace("?P<plain>", "?:")
CREATE = re.compile(
    rf"CREATE\s+(OR\s+REPLACE\s+)?((?:TEMP|TEMPORARY)\s+)?STAGE\s+(IF\s+NOT\s+EXISTS\s+)?({names.NAME})\s*(.*)",
    FLAGS,
)
DROP = re.compile(rf"DROP\s+STAGE\s+(IF\s+EXISTS\s+)?({names.NAME})", FLAGS)
DESCRIBE = re.compile(rf"DESC(?:RIBE)?\s+STAGE\s+({names.NAME})", FLAGS)
LIST = re.compile(rf"(?:LIST|LS)\s+({STAGE})(?:\s+PATTERN\s*=\s*'((?:[^']|'')*)')?", FLAGS)
REMOVE = re.compile(rf"(?:REMOVE|RM)\s+({STAGE})(?:\s+PATTERN\s*=\s*'((?:[^']|'')*)')?", FLAGS)
PUT = re.compile(rf"PUT\s+('file://(?:[^'])*'|file://\S+)\s+({STAGE})\s*(.*)", FLAGS)
GET = re.compile(rf"GET\s+({STAGE})\s+('file://(?:[^'])*'|file://\S+)\s*(.*)", FLAGS)
COPY_FILES = re.compile(rf"COPY\s+FILES\s+INTO\s+({STAGE})\s+FROM\s+({STAGE})\s*(.*)", FLAGS)
ONE_PUT = 5 * 2**30
"""Bytes from which the client would upload in parts."""


@dataclass
class Stage:
    """A stage; `folder` holds its files, `id` changes when it is replaced."""

    name: Name
    folder: Path
    url: str | None
    owner: str | None
    created: datetime
    comment: str = ""
    temporary: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def kind(self) -> str:
        return ("EXTERNAL" if self.url else "INTERNAL") + (" TEMPORARY" if self.temporary else "")

    def told(self, path: str) -> str:
        """A file as LIST and COPY name it."""
        return f"{self.url.rstrip('/')}/{path}" if self.url else f"{self.name.name.lower()}/{path}"

    def files(self, prefix: str) -> list[str]:
        """Paths that begin with `prefix`, in order."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        paths = (path.relative_to(self.folder).as_posix() for path in found)
        return sorted(path for path in paths if path.startswith(prefix))

    def remove(self) -> None:
        """The files of an internal stage go with it."""
        if not self.url:
            shutil.rmtree(self.folder, ignore_errors=True)


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler of this module."""
    for pattern, answer in ANSWERS:
        if found := pattern.fullmatch(statement.bare):
            return answer(statement, found)
    return proceed(statement)


def find(statement: Statement, name: Name) -> Stage:
    """Raises 002003."""
    stage = statement.server.stages.get(name)
    if stage is None:
        raise SnowflakeError(
            "002003", "02000", f"{vendor.COMPILATION}Stage '{name}' does not exist or not authorized."
        )
    return stage


def at(statement: Statement, text: str) -> tuple[Stage, str]:
    """The stage and the path of `@stage/path`."""
    place = names.location(statement.session, text)
    return find(statement, place.stage), place.path


def create(statement: Statement, found: re.Match[str]) -> Answer:
    server, name = statement.server, names.resolve(statement.session, found[4])
    catalog.require_schema(statement.session, name)
    options = names.options(found[5])
    url = options.get("URL")
    with server.lock:
        if known := server.stages.get(name):
            if found[3]:
                return done(f"{name.name} already exists, statement succeeded.")
            if not found[1]:
                raise vendor.exists("Object", name)
            known.remove()
        stage = Stage(name, Path(), url, statement.session.role, statement.now, str(options.get("COMMENT", "")))
        stage.temporary = bool(found[2])
        stage.folder = external(server.home, url) if url else storage.folder(server, stage.id)
        stage.folder.mkdir(parents=True, exist_ok=True)
        server.stages[name] = stage
    return done(f"Stage area {name.name} successfully created.")


def external(home: Path, url: str) -> Path:
    """The folder of an external stage."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "file":
        return Path(rest)
    if scheme.lower() not in ("s3", "s3gov", "s3compat", "gcs", "azure"):
        raise SnowflakeError("001011", "42601", f"{vendor.COMPILATION}invalid URL prefix found in: '{url}'")
    return home / "external" / scheme.lower() / rest


def drop(statement: Statement, found: re.Match[str]) -> Answer:
    name = names.resolve(statement.session, found[2])
    with statement.server.lock:
        stage = statement.server.stages.pop(name, None)
    if stage is not None:
        stage.remove()
    elif found[1]:
        return done(f"Drop statement executed successfully ({name.name} already dropped).")
    else:
        raise vendor.missing("Stage", name)
    return done(f"{name.name} successfully dropped.")


def describe(statement: Statement, found: re.Match[str]) -> Answer:
    stage = find(statement, names.resolve(statement.session, found[1]))
    columns = ("parent_property", "property", "property_type", "property_value", "property_default")
    rows = [("STAGE_LOCATION", "URL", "String", f'["{stage.url or ""}"]', "[]")]
    return Answer([Column(name) for name in columns], rows, wire.DESCRIBE)


def listed(statement: Statement, found: re.Match[str]) -> tuple[Stage, list[str]]:
    """The files that LIST and REMOVE mean: PATTERN is a regular expression for the whole path."""
    stage, prefix = at(statement, found[1])
    pattern = re.compile(found[2].replace("''", "'"), re.DOTALL) if found[2] else None
    paths = stage.files(prefix)
    return stage, [path for path in paths if pattern is None or pattern.fullmatch(stage.told(path))]


def list_files(statement: Statement, found: re.Match[str]) -> Answer:
    stage, paths = listed(statement, found)
    rows = []
    for path in paths:
        file = stage.folder / path
        told = file.stat()
        changed = format_datetime(datetime.fromtimestamp(told.st_mtime, UTC), usegmt=True)
        rows.append((stage.told(path), told.st_size, storage.md5(file), changed))
    columns = [Column("name"), Column("size", "fixed", 38, 0), Column("md5"), Column("last_modified")]
    return Answer(columns, rows)


def remove_files(statement: Statement, found: re.Match[str]) -> Answer:
    stage, paths = listed(statement, found)
    for path in paths:
        (stage.folder / path).unlink(missing_ok=True)
    return Answer([Column("name"), Column("result")], [(stage.told(path), "removed") for path in paths])


def local(text: str) -> str:
    """The path of `file:///path`, in quotes or not."""
    return names.constant(text).removeprefix("file://") if text.startswith("'") else text.removeprefix("file://")


def put(statement: Statement, found: re.Match[str]) -> Answer:
    """Tells the client where to upload, and what."""
    stage, path = at(statement, found[2])
    if stage.url:
        raise SnowflakeError("001045", "42601", f"{vendor.COMPILATION}PUT into an external stage is not supported")
    options = names.options(found[3])
    return Answer(
        kind=0,
        raw={
            "command": "UPLOAD",
            "src_locations": [local(found[1])],
            "parallel": int(options.get("PARALLEL", 4)),
            "threshold": ONE_PUT,
            "autoCompress": bool(options.get("AUTO_COMPRESS", True)),
            "overwrite": bool(options.get("OVERWRITE", False)),
            "sourceCompression": str(options.get("SOURCE_COMPRESSION", "auto_detect")).lower(),
            "clientShowEncryptionParameter": False,
            "encryptionMaterial": None,
            "stageInfo": stage_info(statement, stage, path),
        },
    )


def stage_info(statement: Statement, stage: Stage, path: str) -> dict[str, Any]:
    """An internal stage as the client's GCS code takes it: a token and an address of ours."""
    folder = path if not path or path.endswith("/") else f"{path}/"
    return {
        "locationType": "GCS",
        "location": f"{stage.id}/{folder}",
        "path": folder,
        "region": "eu-central1",
        "storageAccount": None,
        "isClientSideEncrypted": False,
        "creds": {"GCS_ACCESS_TOKEN": f"storage-{statement.session.token}"},
        "presignedUrl": None,
        "endPoint": f"{statement.request['address']}{storage.PREFIX}",
    }


def get(statement: Statement, found: re.Match[str]) -> Answer:
    """Tells the client what to download."""
    stage, prefix = at(statement, found[1])
    pattern = names.options(found[3]).get("PATTERN")
    paths = [path for path in stage.files(prefix) if pattern is None or re.fullmatch(pattern, stage.told(path))]
    if not paths:
        return Answer([Column(name) for name in ("file", "size", "status", "message")], [])
    return Answer(
        kind=0,
        raw={
            "command": "DOWNLOAD",
            "src_locations": paths,
            "localLocation": local(found[2]),
            "parallel": int(names.options(found[3]).get("PARALLEL", 4)),
            "threshold": ONE_PUT,
            "encryptionMaterial": [],
            "presignedUrls": None,
            "stageInfo": stage_info(statement, stage, ""),
        },
    )


def copy_files(statement: Statement, found: re.Match[str]) -> Answer:
    """COPY FILES INTO … FROM … [FILES | PATTERN] [DETAILED_OUTPUT]: names below the source path are kept."""
    target, into = at(statement, found[1])
    source, prefix = at(statement, found[2])
    options = names.options(found[3])
    wanted = options.get("FILES")
    base = prefix if not prefix or prefix.endswith("/") or wanted is not None else prefix.rpartition("/")[0] + "/"
    base = "" if base == "/" else base
    if wanted is not None:
        base = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        paths = [f"{base}{name}" for name in wanted]
    else:
        pattern = options.get("PATTERN")
        paths = [path for path in source.files(prefix) if not pattern or re.fullmatch(pattern, source.told(path))]
    for path in paths:
        if not (source.folder / path).is_file():
            raise missing_file(source, path)
    folder = into if not into or into.endswith("/") else f"{into}/"
    copied = [(source.folder / path, f"{folder}{path.removeprefix(base)}") for path in paths]
    for file, name in copied:
        _copy(file, target.folder / name)
    if options.get("DETAILED_OUTPUT", True):
        return Answer([Column("file")], [(name,) for _, name in copied])
    return Answer([Column("status")], [(f"{len(copied)} file(s) were copied.",)])


def _copy(file: Path, into: Path) -> None:
    """Whole or not at all."""
    into.parent.mkdir(parents=True, exist_ok=True)
    partly = into.with_name(f".{into.name}.{uuid.uuid4().hex}")
    shutil.copyfile(file, partly)
    partly.replace(into)


def missing_file(stage: Stage, path: str) -> SnowflakeError:
    """A file that is named and not there."""
    return SnowflakeError(
        "091016",
        "22000",
        f"Remote file '{stage.told(path)}' was not found. There are several potential causes. The file might not"
        " exist. The required credentials may be missing or invalid. If you are running a copy command, please"
        " make sure files are not deleted when they are being loaded or files are not being loaded into two"
        " different tables concurrently with auto purge option.",
    )


ANSWERS: tuple[tuple[re.Pattern[str], Callable[[Statement, re.Match[str]], Answer]], ...] = (
    (CREATE, create),
    (DROP, drop),
    (DESCRIBE, describe),
    (LIST, list_files),
    (REMOVE, remove_files),
    (PUT, put),
    (GET, get),
    (COPY_FILES, copy_files),
)
