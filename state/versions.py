"""What a program may do with a drive table of some schema version: the same words for every backend.

`place` is how messages name the drive table, `path` the setting that says where it is.
"""

from __future__ import annotations

from state.errors import ConfigurationError

INIT = "Make it with `sluiceway drive init`."


def require_current(version: int, newest: int, *, place: object, path: str) -> None:
    """Raises `ConfigurationError` unless the drive table, which is there, is of the version `newest`."""
    refuse_newer(version, newest, place=place, path=path)
    if version < newest:
        raise ConfigurationError(
            f"the drive table {place} has schema version {version}, this program needs {newest}",
            hint="Stop all workers, then run `sluiceway drive upgrade`.",
            code="old_schema",
            path=path,
        )


def refuse_newer(version: int, newest: int, *, place: object, path: str) -> None:
    """Raises `ConfigurationError`: what a newer program wrote, an older one must not touch."""
    if version > newest:
        raise ConfigurationError(
            f"the drive table {place} has schema version {version}, this program knows versions up to {newest}",
            hint="Use the newer Sluiceway that upgraded it.",
            code="newer_schema",
            path=path,
        )


def missing(place: object, path: str, hint: str = INIT) -> ConfigurationError:
    """There is no drive table at `place`."""
    return ConfigurationError(f"there is no drive table in {place}", hint=hint, code="no_drive_table", path=path)
