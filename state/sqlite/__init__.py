"""The drive table in a SQLite file: the backend of one machine."""

from state.sqlite.drive import SqliteDrive

__all__ = ["SqliteDrive"]
