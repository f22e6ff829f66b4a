"""The files of a source as they are at one instant, and errors of reading one of them."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from connectors.files.settings import FilesSettings
from state.errors import ConfigurationError, PermanentError, RestartAttempt, SluicewayError, TransientError

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "csv": (".csv",),
    "ndjson": (".ndjson", ".jsonl"),
}
"""Format → endings of the files that are looked for in a folder."""


@dataclass(frozen=True)
class SourceFile:
    """A file as it was listed. `size` in bytes, `mtime_ns` in nanoseconds since 1970, `inode` of the file."""

    path: str
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def at(cls, path: str) -> SourceFile:
        """The file as it is now. Raises OSError."""
        found = Path(path).stat()
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def require_unchanged(self) -> None:
        """Raise `RestartAttempt` unless the file is still the one that was listed."""
        try:
            now = SourceFile.at(self.path)
        except FileNotFoundError:
            raise _changed(self, "vanished") from None
        if now != self:
            raise _changed(self, "was cut" if now.size < self.size else "changed")


def list_files(settings: FilesSettings) -> list[SourceFile]:
    """The files that `path` names, by path. Raises `ConfigurationError` if there is none."""
    try:
        files = [SourceFile.at(path) for path in sorted(_paths(settings)) if _is_file(path)]
    except FileNotFoundError as error:
        raise RestartAttempt(
            f"{error.filename} vanished while the files were listed", code="file_changed"
        ) from None
    except OSError as error:
        raise _refused(error, settings.path) from None
    if not files:
        raise ConfigurationError(
            f"no {settings.format} file is found at '{settings.path}'",
            hint="Correct source_system.path, or put a file there; one without rows will do.",
            code="no_files",
            path="source_system.path",
        )
    return files


def _paths(settings: FilesSettings) -> list[str]:
    path = Path(settings.path)
    if path.is_dir():
        return [str(found) for found in path.rglob("*") if found.suffix in ENDINGS[settings.format]]
    if path.exists():  # also where the name itself holds a bracket
        return [settings.path]
    return glob.glob(settings.path, recursive=True)  # noqa: PTH207 - Path.glob finds hidden files too


def _is_file(path: str) -> bool:
    return stat.S_ISREG(Path(path).stat().st_mode)


@contextmanager
def reading(file: SourceFile) -> Iterator[None]:
    """What is read inside is the file that was listed, from first to last; errors are sorted by what to do next.

    Raises `RestartAttempt` if the file changed, vanished or was cut, `ConfigurationError` if it may not be read,
    `TransientError` if the disk fails, `PermanentError` if the file is damaged.
    """
    file.require_unchanged()
    try:
        yield
    except SluicewayError:
        file.require_unchanged()  # a file that is being changed makes errors of all kinds
        raise
    except (pa.ArrowException, OSError) as error:
        file.require_unchanged()
        raise _refused(error, file.path) from error
    file.require_unchanged()


def _changed(file: SourceFile, how: str) -> RestartAttempt:
    return RestartAttempt(
        f"{file.path} {how} while it was read",
        hint="It is read again. Write files under another name, and rename them when they are complete.",
        code="file_changed",
    )


def _refused(error: Exception, path: str) -> SluicewayError:
    if isinstance(error, PermissionError):
        return ConfigurationError(
            f"{path} may not be read", hint="Grant this process the right to read it.", code="permission"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return TransientError(f"cannot read {path}: {os.strerror(error.errno)}", code="disk")
    return PermanentError(
        f"{path} cannot be read: {_first_line(error)}",
        hint="Write the file again, or move it away and load its rows from elsewhere.",
        code="damaged_file",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
