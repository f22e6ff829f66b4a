"""`make test-live`: the clauses about Snowflake and those of drive tables and loaders on an account, and in plain
words what was not run without one.

Exit codes: pytest's, or 2 where the account is not named: nothing was asked then, so nothing has passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping

import pytest

from tests.contract.drive import CLAUSES as DRIVE
from tests.contract.loader_snowflake import CLAUSES as LOADER
from tests.live.live_conformance import connection
from tests.snowflake.conformance import clauses

NOTHING_RAN = 2
FILES = ("tests/live/live_conformance.py", "tests/live/live_drive.py", "tests/live/live_loader.py")
COMMAND = (sys.executable, "-m", "pytest", *FILES)


def not_run(environment: Mapping[str, str]) -> str | None:
    """Why nothing can be run, and what that leaves unknown; None if there is an account."""
    try:
        connection(environment)
    except pytest.UsageError as error:
        found = clauses().values()
        told = "\n".join(f"  - {clause.behaviour}" for clause in found)
        return (
            f"NOT RUN: no account to ask ({error}).\n"
            f"{len(found)} clauses about Snowflake are not checked:\n{told}\n"
            f"Neither are the {len(DRIVE)} clauses of a drive table in Snowflake:\n{listed(DRIVE)}\n"
            f"Nor the {len(LOADER)} clauses of a loader into Snowflake:\n{listed(LOADER)}"
        )
    return None


def listed(names: Iterable[str]) -> str:
    """One line for each clause."""
    return "\n".join(f"  - {name.replace('_', ' ')}" for name in names)


def main() -> int:
    why = not_run(os.environ)
    if why is not None:
        print(why, file=sys.stderr)
        return NOTHING_RAN
    return subprocess.run([*COMMAND, *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
