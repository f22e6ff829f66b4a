"""Folders and whole files on a local disk, and what the disk's errors mean."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loaders.parquet import sync_folder
from state.checks import Check
from state.errors import ConfigurationError, RestartAttempt, SluicewayError, TransientError
from state.model import Chunk
from state.port import Port

FULL = (errno.ENOSPC, errno.EDQUOT)
PASSING = (*FULL, errno.EIO, errno.EMFILE, errno.ENFILE)

UNFINISHED = ".part"
"""Ending of a file that is still being written."""


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each for its owner only; one that is there stays as it is."""
    while not folder.is_dir():
        make_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:  # another run cleaned up: its last file was gone, and so the parent was empty
            continue
        sync_folder(folder.parent)


@contextmanager
def disk_errors(directory: Path, setting: str) -> Iterator[None]:
    """Errors of a local disk as the tree of `state.errors`."""
    try:
        yield
    except OSError as error:
        raise disk_error(directory, setting, error) from error


def disk_error(directory: Path, setting: str, error: OSError) -> SluicewayError:
    """A full or ailing disk may do later; a folder that may not be used needs an operator."""
    why = (error.strerror or str(error) or "error").lower()
    if error.errno in PASSING:
        return TransientError(
            f"cannot use {directory}: {why}",
            hint="Free space there; what was half written is removed, and it is tried again by itself.",
            code="disk_full" if error.errno in FULL else "disk",
        )
    return ConfigurationError(
        f"cannot use {directory}: {why}",
        hint=f"Give {setting} a directory that this user may write to.",
        code="stage",
        path=setting,
    )


def copied(source: Path, path: Path, chunk: Chunk, port: Port, call: str) -> None:
    """Copy a chunk's file to `path`: temporary name, sync, verify, rename. Raises `RestartAttempt` if the bytes
    that arrived are not the chunk's."""
    make_folder(path.parent)
    unfinished = path.with_name(path.name + UNFINISHED)
    with port(f"{call}.write"):
        write(source, unfinished)
    if not is_chunk(unfinished, chunk):
        unfinished.unlink(missing_ok=True)
        raise RestartAttempt(
            f"the file of {chunk.name} is not what was written for it: size or SHA-256 differ",
            hint="Its part is read again. If that happens again, look at the disk.",
            code="stage_file_changed",
        )
    with port(f"{call}.rename"):
        unfinished.rename(path)
        sync_folder(path.parent)


def directory_check(name: str, directory: Path) -> Check:
    """A directory that this user may write to, or may make; nothing is made."""
    there = directory.absolute()
    while not there.exists():
        there = there.parent
    ok = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    if directory.is_dir():
        found = f"{directory} may be written" if ok else f"{directory} may not be written by this user"
    else:
        found = f"{directory} will be made" if ok else f"{directory} cannot be made: {there} may not be written"
    return Check(name, ok, found, f"Give {name} a directory that this user may write to.")


def write(source: Path, target: Path) -> None:
    """Copy bytes into a new file of mode 0600, and sync it."""
    handle = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as writer, source.open("rb") as reader:
        while block := reader.read(1 << 20):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())


def is_chunk(path: Path, chunk: Chunk) -> bool:
    """True if the file is there and its bytes are the chunk's."""
    try:
        with path.open("rb") as file:
            same_size = os.fstat(file.fileno()).st_size == chunk.bytes
            return same_size and hashlib.file_digest(file, "sha256").hexdigest() == chunk.sha256
    except FileNotFoundError:
        return False
