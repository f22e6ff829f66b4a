"""Runs the unit tests on the other Python versions of this machine, each in an environment of its own.

    python -m tests.pythons

Looks on the PATH and where pyenv and uv keep their interpreters; says which versions it did not find. Exit code 1
if the tests fail on one of those that were found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
PROBE = "import ensurepip, sqlite3, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter of this version may be, the likeliest first."""
    home = Path.home()
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    shared = Path(os.environ.get("XDG_DATA_HOME", home / ".local/share"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", shared / "uv/python"))
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"), reverse=True)
    for prefix in ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"):
        yield Path(prefix, f"python{version}")


def works(python: Path, version: str) -> bool:
    """True if it starts, is of this version, and can make environments (a pyenv shim may do none of these)."""
    try:
        done = subprocess.run([python, "-c", PROBE], check=False, capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def found(version: str) -> Path | None:
    return next((python for python in candidates(version) if works(python, version)), None)


def tested(python: Path, version: str) -> bool:
    """True if the unit tests pass in a fresh or updated environment of this interpreter."""
    folder = ROOT / f".venv-{version}"
    own = folder / "bin" / "python"
    install = [own, "-m", "pip", "install", "--quiet"]
    steps = [
        [python, "-m", "venv", folder],
        [*install, "--upgrade", "pip>=25.1"],
        [*install, "--editable", ".", "--group", "dev", "--group", "demo"],
        [own, "-m", "pytest", "-q", "tests/unit"],
    ]
    return all(subprocess.run(step, check=False, cwd=ROOT).returncode == 0 for step in steps)


def main() -> int:
    current = "{}.{}".format(*sys.version_info[:2])
    outcome = {}
    for version in VERSIONS:
        if version == current:
            outcome[version] = "what `make test` runs on"
        elif (python := found(version)) is None:
            outcome[version] = "not found"
        else:
            print(f"== Python {version}: {python}", flush=True)
            outcome[version] = "passed" if tested(python, version) else "FAILED"
    print("\n".join(f"Python {version}: {what}" for version, what in outcome.items()))
    return 1 if "FAILED" in outcome.values() else 0


if __name__ == "__main__":
    sys.exit(main())
