"""Which JDK runs a server: the oldest installed one that fits."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

JVMS = Path("/usr/lib/jvm")


def java_home(versions: range) -> Path | None:
    """Home of the oldest installed JDK of one of these major versions, None if there is none."""
    fitting = {version: home for home in _homes() if (version := _version(home)) in versions}
    return fitting[min(fitting)] if fitting else None


def _homes() -> list[Path]:
    """JAVA_HOME, then what lies where Debian puts JDKs; only what has a `java`."""
    named = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    return [home for home in [*named, *sorted(JVMS.glob("*"))] if (home / "bin" / "java").exists()]


@cache
def _version(home: Path) -> int:
    """Its major version, 0 if it does not say one."""
    told = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', told.stderr)
    return int(found[1]) if found else 0
