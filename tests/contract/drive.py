"""The contract of every `DriveTable` (state/drive.py), as clauses for `kill_matrix.prove`.

A maker takes a `Clock` that stands for the drive database's and returns an empty drive table. Owners are
judged by `state.owner`, so that a process that really ended is the dead owner.
"""

from __future__ import annotations

from tests.contract import drive_leases, drive_reopen, drive_runs, drive_summaries
from tests.contract.drive_desk import CLAUSES, Clock, Make

__all__ = ["CLAUSES", "Clock", "Make", "drive_leases", "drive_reopen", "drive_runs", "drive_summaries"]
