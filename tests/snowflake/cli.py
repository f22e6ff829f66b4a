"""`snow`, Snowflake's own command line, in an environment of its own: what operators run our SQL scripts with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.environments import Environment

CLI = Environment("snowflake-cli", ("snowflake-cli==3.30.0",))


def snow_sql(
    place: Mapping[str, Any], folder: Path, *scripts: Path, **other: str
) -> subprocess.CompletedProcess[str]:
    """`snow sql -f …` as an operator calls it; `place`: what `Place.connection` gives; `folder`: a home for it."""
    given = {
        name: str(place[name]) for name in ("account", "user", "host", "port", "protocol", "warehouse", "role")
    }
    options = [f"--{name}={value}" for name, value in ({**given, **other}).items()]
    files = [f"--filename={script}" for script in scripts]
    return subprocess.run(
        [CLI.python(), "-m", "snowflake.cli._app", "sql", *files, "--temporary-connection", *options],
        cwd=folder,
        env={
            **os.environ,
            "HOME": str(folder),
            "SNOWFLAKE_HOME": str(folder),
            "SNOWFLAKE_PASSWORD": str(place["password"]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
