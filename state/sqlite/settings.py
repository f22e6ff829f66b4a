"""Settings of the drive table that needs no server: `drive_table` in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from state.settings import Group


class LocalDriveSettings(Group):
    """A file on this machine, for the workers of this machine; or memory, for trials."""

    type: Literal["sqlite", "memory"] = "sqlite"
    """`sqlite`: a file on this machine. `memory`: forgotten when the process ends, for trials. Default sqlite: it
    needs no server."""
    path: Path = Path("sluiceway.sqlite")
    """SQLite file, on a local disk. Default `sluiceway.sqlite` in the working directory, beside the config."""

    @property
    def place(self) -> str:
        """How messages name this drive table."""
        return str(self.path) if self.type == "sqlite" else "memory"
