"""Folders on a local disk, and what the disk's errors mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loaders.parquet import sync_folder
from state.errors import ConfigurationError, SluicewayError, TransientError

FULL = (errno.ENOSPC, errno.EDQUOT)
PASSING = (*FULL, errno.EIO, errno.EMFILE, errno.ENFILE)


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
