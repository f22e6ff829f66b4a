"""The test server's own environment: fakesnow and an older connector do not go together with ours.

Made once with `python -m venv` and pip into `${XDG_CACHE_HOME:-~/.cache}/sluiceway/snowflake-…`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "fakesnow[server]==0.12.1",
    "snowflake-connector-python==4.8.1",
    "duckdb==2.0.1",
    "pyarrow==26.0.1",
    "sqlglot==30.22.0",
    "starlette==1.10.0",
    "uvicorn==0.54.0",
)
"""What decides how the server behaves is pinned; the rest is what these want."""


def cache() -> Path:
    """Where downloads of the tests are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluiceway"


def home() -> Path:
    """The folder of the environment; its name changes with the packages and with this Python."""
    words = "\n".join((*PACKAGES, sys.version.split()[0], sys.prefix)).encode()
    return cache() / f"snowflake-{hashlib.sha256(words).hexdigest()[:12]}"


def python() -> Path:
    """The interpreter of the environment, made if it is missing. Raises CalledProcessError where pip fails."""
    made = home()
    if not made.is_dir():
        made.parent.mkdir(parents=True, exist_ok=True)
        with (made.parent / "snowflake.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.is_dir():
                _make(made)
    return made / "bin" / "python"


def _make(into: Path) -> None:
    """Only its `bin/python` is used, which does not mind that the folder is renamed once it is whole."""
    partly = into.with_name(into.name + ".part")
    shutil.rmtree(partly, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", partly], check=True)
    pip = [partly / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PACKAGES], check=True, stdin=subprocess.DEVNULL)
    partly.rename(into)
