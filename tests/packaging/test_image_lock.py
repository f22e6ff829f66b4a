"""The lock of the image: complete, hashed, and true to pyproject.toml (X-13); nothing is asked of an index."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

import pytest
from packaging.requirements import Requirement

from tests.packaging.lock import BUILD_LOCK, LOCK, asked_for, normal, pins, read

LOCKS = pytest.mark.parametrize("lock", [LOCK, BUILD_LOCK], ids=lambda lock: lock.name)


@LOCKS
def test_what_pyproject_asks_for_is_locked_at_a_version_that_it_admits(lock):
    locked = read(lock)
    for asked in map(Requirement, asked_for(lock)):
        assert normal(asked.name) in locked, f"{asked.name} is not locked: make lock"
        pinned = locked[normal(asked.name)].version
        assert asked.specifier.contains(pinned), f"{asked} is locked at {pinned}: make lock"


@LOCKS
def test_each_package_is_pinned_with_hashes(lock):
    for package in pins(lock):
        name = package.requirement.name
        assert package.version, name
        assert package.hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in package.hashes), name


@LOCKS
def test_no_index_and_no_place_of_the_machine_that_made_it_is_in_a_lock(lock):
    text = lock.read_text()
    assert "://" not in text
    options = [line for line in text.splitlines() if line.startswith("-") or " @ " in line]
    assert options == []


@LOCKS
def test_what_locked_packages_need_is_locked_too(lock):
    """As far as it can be told here: of those that are installed at the version that is locked."""
    locked, looked_at = read(lock, platform.python_version()), 0
    for name, package in locked.items():
        if installed(name) != package.version:
            continue
        looked_at += 1
        for needed in map(Requirement, requires(name) or []):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert normal(needed.name) in locked, f"{name} needs {needed.name}"
    assert looked_at, "none of them is installed here"


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
