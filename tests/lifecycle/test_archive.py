"""A process killed at any effect of archiving: every chunk is in the archive, whole, before it leaves the stage.

In a folder and on a real S3 server. The points come from a recorded run: the first and the last of each effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from state.model import Phase, PhaseStatus
from tests.lifecycle.ports import Moment, recorder, trap
from tests.lifecycle.processes import exit_code
from tests.lifecycle.world import HOUR, START, World, events
from tests.servers.s3 import OWNER, SECRETS, S3Server


@dataclass(frozen=True)
class Place:
    """An archive: what the config says of it, what it holds, and the effects that a run has there."""

    settings: dict
    files: Callable[[], dict[str, bytes]]
    effects: set[str]


def folder_at(path: Path) -> Place:
    def files() -> dict[str, bytes]:
        found = [file for file in path.rglob("*") if file.is_file()]
        return {str(file.relative_to(path)): file.read_bytes() for file in found}

    return Place({"archive": str(path)}, files, {"loader.archive.write", "loader.archive.rename"})


def bucket_of(server: S3Server, folder: Path) -> Place:
    name = server.bucket()
    for kind, text in (("key", OWNER), ("secret", SECRETS[OWNER])):
        (folder / kind).write_text(text)
    keys = {
        f"{owner}_key": {"file": str(folder / file)} for owner, file in (("access", "key"), ("secret", "secret"))
    }
    access = {"region": "us-east-1", "endpoint": server.url, **keys}
    settings = {"archive": f"s3://{name}", "archive_access": access}
    return Place(settings, lambda: server.objects(name), {"loader.archive.read", "loader.archive.write"})


@pytest.fixture(params=["folder", "bucket"])
def places(request) -> Callable[[Path], Place]:
    """Makes fresh archives of a kind."""
    if request.param == "folder":
        return lambda root: folder_at(root / "archive")
    server = request.getfixturevalue("s3")
    return lambda root: bucket_of(server, root)


def world_of(root: Path, places: Callable[[Path], Place]) -> tuple[World, Place]:
    """One window of three chunks, and its archive."""
    root.mkdir(parents=True)
    place = places(root)
    phases = {"stage_cleaning": place.settings}
    world = World(root, {"windows": {"end": (START + HOUR).isoformat()}, "phases": phases})
    world.write("hour", events(60))
    return world, place


def attempt(world: World, number: int | None, moment: Moment) -> None:
    """Body of a worker process: a run that is killed, or told a lie, at its `number`-th effect."""
    world.run() if number is None else world.run(trap(number, moment))


def survives(base: Path, places: Callable[[Path], Place], number: int, moment: Moment) -> str:
    """What is wrong after that and a restart; empty if nothing is."""
    world, place = world_of(base / f"{number}-{moment.name}", places)
    codes = (exit_code(attempt, world, number, moment), exit_code(attempt, world, None, moment))
    [run] = world.runs()
    chunks = {chunk.name: chunk.sha256 for chunk in run.manifest.chunks}
    kept = {name: hashlib.sha256(data).hexdigest() for name, data in place.files().items()}
    left = [str(file) for file in (world.root / "stage").rglob("*") if file.is_file()]
    cleaned = run.phases[Phase.STAGE_CLEANING].status
    fine = chunks and kept == chunks and not left and codes[1] == 0 and cleaned is PhaseStatus.COMPLETED
    killed = (codes[0] == -9) is (moment is not Moment.ANSWER_LOST)
    return "" if fine and killed else f"{moment} effect {number}: exits {codes}, {cleaned}, {kept}, {left}"


def test_killed_at_any_effect_of_archiving_every_chunk_is_kept_once_and_whole(tmp_path, places, capsys):
    log = tmp_path / "effects"
    world, place = world_of(tmp_path / "without-fault", places)
    world.run(recorder(log))
    names = log.read_text().split()
    archiving = {name: number for number, name in enumerate(names) if name.startswith("loader.archive")}
    assert set(archiving) == place.effects
    points = sorted({*archiving.values(), *(names.index(name) for name in archiving)})
    todo = [(number, moment) for number in points for moment in Moment]
    with ThreadPoolExecutor(2) as pool:
        wrong = [text for text in pool.map(lambda point: survives(tmp_path, places, *point), todo) if text]
    with capsys.disabled():
        print(f"\narchive: {len(todo)} crash points, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
