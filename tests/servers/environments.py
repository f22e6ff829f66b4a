"""Python environments beside ours, for programs whose packages do not go together with ours.

Each is made once with `python -m venv` and pip in `${XDG_CACHE_HOME:-~/.cache}/sluiceway/…`; its name changes with
the packages and with this Python.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


def cache() -> Path:
    """Where downloads of the tests are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluiceway"


@dataclass(frozen=True)
class Environment:
    """`packages`: what pip is asked for, pinned where it decides how the program behaves."""

    name: str
    packages: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Its folder."""
        words = "\n".join((*self.packages, sys.version.split()[0], sys.prefix)).encode()
        return cache() / f"{self.name}-{hashlib.sha256(words).hexdigest()[:12]}"

    @property
    def is_made(self) -> bool:
        return self.home.is_dir()

    def python(self) -> Path:
        """Its interpreter, made if it is missing. Raises CalledProcessError where pip fails."""
        if not self.is_made:
            self.home.parent.mkdir(parents=True, exist_ok=True)
            with (self.home.parent / f"{self.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self.is_made:
                    self._make()
        return self.home / "bin" / "python"

    def _make(self) -> None:
        """Only its `bin/python` is used, which does not mind that the folder is renamed once it is whole."""
        partly = self.home.with_name(self.home.name + ".part")
        shutil.rmtree(partly, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", partly], check=True)
        pip = [partly / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *self.packages], check=True, stdin=subprocess.DEVNULL)
        partly.rename(self.home)
