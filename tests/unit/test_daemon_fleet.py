"""The folder of a daemon: files that come, change, go, are bad, half written, or swapped as Kubernetes does it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from service.daemon import fleet as module
from service.daemon.fleet import Changes, Fleet
from tests.lifecycle.world import START, defaults, merged


def text(name: str, **windows) -> str:
    own = {"pipeline_metadata": {"pipeline_name": name}, "windows": windows}
    return json.dumps(merged(defaults(Path("/nowhere")), own), indent=1)


LATER = (START + timedelta(days=3)).isoformat()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(text("a"))
    (tmp_path / "b.json").write_text(text("b"))
    return tmp_path


@pytest.fixture
def fleet(folder: Path) -> Fleet:
    made = Fleet(folder)
    made.look()
    return made


def names(changes: Changes) -> tuple[list[str], list[str], list[str]]:
    """Begun, ended, refused."""
    begun = [config.pipeline_metadata.pipeline_name for config in changes.begin]
    return sorted(begun), sorted(changes.end), sorted(Path(one.file).name for one in changes.refused)


def test_what_did_not_change_is_not_told_again(folder, fleet):
    assert names(Fleet(folder).look()) == (["a", "b"], [], [])
    assert fleet.look() == Changes()
    (folder / "a.json").write_text(text("a"))
    (folder / "notes.txt").write_text("nothing of ours")
    assert fleet.look() == Changes()


def test_files_that_come_change_and_go(folder, fleet):
    (folder / "c.json").write_text(text("c"))
    assert names(fleet.look()) == (["c"], [], [])
    (folder / "a.json").write_text(text("a", end=LATER))
    assert names(fleet.look()) == (["a"], [], [])
    (folder / "b.json").unlink()
    assert names(fleet.look()) == ([], ["b"], [])
    (folder / "c.json").rename(folder / "other.json")
    assert names(fleet.look()) == ([], [], [])
    assert sorted(fleet.configs) == ["a", "c"]


@pytest.mark.parametrize("bad", ["", "{", "[]", '{"pipeline_metadata": {"pipeline_name": "a"}}', "\0\0", "half"])
def test_a_file_that_turns_bad_leaves_its_pipeline_as_it_was(folder, fleet, bad):
    """Even where its name cannot be read any more, as in a file that is half written."""
    (folder / "a.json").write_text(text("a")[:200] if bad == "half" else bad)
    assert names(fleet.look()) == ([], [], ["a.json"])
    assert sorted(fleet.configs) == ["a", "b"]
    (folder / "a.json").write_text(text("a"))
    assert names(fleet.look()) == ([], [], [])


def test_a_file_that_was_bad_and_goes_ends_its_pipeline(folder, fleet):
    (folder / "a.json").write_text("")
    fleet.look()
    (folder / "a.json").unlink()
    assert names(fleet.look()) == ([], ["a"], [])


def test_a_bad_file_stops_no_other_from_coming(folder, fleet):
    (folder / "a.json").write_text("{")
    (folder / "c.json").write_text(text("c"))
    assert names(fleet.look()) == (["c"], [], ["a.json"])


def test_two_files_of_one_name_are_both_refused_and_what_ran_goes_on(folder, fleet):
    (folder / "z.json").write_text(text("a", end=LATER))
    assert names(fleet.look()) == ([], [], ["a.json", "z.json"])
    assert fleet.configs["a"].windows.end < fleet.configs["a"].windows.start + timedelta(days=1)
    (folder / "a.json").unlink()
    assert names(fleet.look()) == (["a"], [], [])
    assert names(Fleet(folder).look()) == (["a", "b"], [], [])


def test_a_file_that_changes_between_the_judgement_and_the_reading_is_looked_at_again(folder, fleet, monkeypatch):
    real = module.loaded

    def changed(one):
        if Path(one.file).name == "a.json":
            (folder / "a.json").write_text("{")
        return real(one)

    (folder / "c.json").write_text(text("c"))
    monkeypatch.setattr(module, "loaded", changed)
    assert names(fleet.look()) == (["c"], [], [])
    monkeypatch.undo()
    (folder / "a.json").write_text(text("a", end=LATER))
    assert names(fleet.look()) == (["a"], [], [])


def test_a_folder_that_is_away_or_a_file_that_goes_meanwhile_changes_nothing(folder, fleet, monkeypatch):
    away = folder.with_name("away")
    folder.rename(away)
    assert fleet.look() == Changes()
    away.rename(folder)
    (folder / "c.json").write_text(text("c"))
    monkeypatch.setattr(Path, "read_bytes", vanished)
    assert fleet.look().end == ()
    monkeypatch.undo()
    assert "c" in {*fleet.configs, *names(fleet.look())[0]}


def vanished(_path: Path) -> bytes:
    raise FileNotFoundError


def test_a_volume_of_kubernetes_is_swapped_as_a_whole(tmp_path):
    """A ConfigMap is a folder of links through `..data`, a link itself that is replaced in one step."""

    def version(name: str, **files: str) -> None:
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / f"{file}.json").write_text(content)
        (tmp_path / "..tmp").symlink_to(name)
        (tmp_path / "..tmp").replace(tmp_path / "..data")

    version("..1", a=text("a"), b=text("b"))
    for file in ("a.json", "b.json"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    fleet = Fleet(tmp_path)
    assert names(fleet.look()) == (["a", "b"], [], [])
    version("..2", a=text("a", end=LATER), b=text("b"))
    assert names(fleet.look()) == (["a"], [], [])
    version("..3", a=text("a", end=LATER))  # its link hangs until the kubelet removes it
    assert names(fleet.look()) == ([], ["b"], [])
    assert list(fleet.configs) == ["a"]


def test_an_empty_folder_is_a_daemon_that_waits(tmp_path):
    assert Fleet(tmp_path).look() == Changes()
