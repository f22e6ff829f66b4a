"""The lock of the image: every package that goes into it, with the hashes of its wheels.

`make lock` (`python -m tests.packaging.lock`) asks the package index for the newest versions that pyproject.toml
admits, on every Python from its lowest and every platform, and writes them down. uv does it, in an environment of
its own.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.servers.environments import Environment

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy" / "requirements.txt"
"""What runs."""
BUILD_LOCK = ROOT / "deploy" / "requirements-build.txt"
"""What builds the wheel, and is in no image."""
UV = Environment("uv", ("uv==0.13.9",))
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
"""Where images are run: each locked package has a wheel there."""
PYTHONS = ("3.11", "3.12", "3.13")
OTHER_INDEXES = ("UV_", "PIP_")
"""Beginnings of variables that would lead to another index, or to files of this machine."""


@dataclass(frozen=True)
class Locked:
    """One package of a lock, as it stands there."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def version(self) -> str:
        [pin] = self.requirement.specifier
        assert pin.operator == "==", self.requirement
        return pin.version


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def asked_for(lock: Path) -> list[str]:
    """The requirements that a lock answers."""
    asked: list[str] = (
        project()["build-system"]["requires"] if lock == BUILD_LOCK else project()["project"]["dependencies"]
    )
    return asked


def read(lock: Path, python: str = PYTHONS[0]) -> dict[str, Locked]:
    """The packages that this Python takes of a lock, by their normal names.

    Raises InvalidRequirement where a line is no package.
    """
    here = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}
    return {
        normal(one.requirement.name): one
        for one in pins(lock)
        if one.requirement.marker is None or one.requirement.marker.evaluate(here)
    }


def pins(lock: Path) -> list[Locked]:
    """Every line of a lock; a package has several where Pythons take others."""
    text = re.sub(r"\\\n\s*", "", lock.read_text())  # a package and its hashes stand on one line
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = line.split("--hash=")
            found.append(Locked(Requirement(pin), tuple(one.strip() for one in hashes)))
    return found


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def renew(lock: Path) -> None:
    """Write a lock anew. Raises CalledProcessError, with uv's reasons on stderr, where there is no solution."""
    lowest = project()["project"]["requires-python"].removeprefix(">=")
    which = ["--universal", "--python-version", lowest, "--only-binary", ":all:", "--generate-hashes", "--upgrade"]
    bare = [
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-annotate",
        "--custom-compile-command",
        "make lock",
    ]
    uv("compile", "-", *which, *bare, "--output-file", str(lock), said="\n".join(asked_for(lock)))


def can_be_installed(lock: Path, platform: str, python: str) -> None:
    """Raises CalledProcessError where a locked package has no wheel for that platform and Python."""
    with tempfile.TemporaryDirectory() as nowhere:
        where = ["--target", nowhere, "--python-platform", platform, "--python-version", python]
        uv("install", "--dry-run", "--require-hashes", "--only-binary", ":all:", *where, "-r", str(lock))


def uv(*words: str, said: str = "") -> None:
    """A command of `uv pip`, as if nothing were configured on this machine."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(OTHER_INDEXES)}
    command = [UV.python(), "-m", "uv", "pip", *words, "--quiet", "--no-config"]
    subprocess.run(command, input=said, text=True, check=True, env=own)


def labelled(lock: Path) -> dict[str, Locked]:
    """Every line by package and marker."""
    return {f"{one.requirement.name} {one.requirement.marker or ''}".strip(): one for one in pins(lock)}


def main() -> None:
    for lock in (LOCK, BUILD_LOCK):
        before = labelled(lock) if lock.exists() else {}
        renew(lock)
        after = labelled(lock)
        for platform, python in itertools.product(PLATFORMS, PYTHONS):
            can_be_installed(lock, platform, python)
        for name in sorted(before.keys() | after.keys()):
            old, new = (found[name].version if name in found else "-" for found in (before, after))
            if old != new:
                print(f"{lock.name}: {name} {old} -> {new}")


if __name__ == "__main__":
    main()
