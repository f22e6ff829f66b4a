"""Runs of one pipeline share the stage directory: one cleans up while another looks or writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from loaders.disk import make_folder
from loaders.duckdb.files import StageFiles
from state.port import direct


def test_a_parent_that_another_run_removes_meanwhile_is_made_again(tmp_path, monkeypatch):
    parent, mkdir, removed = tmp_path / "stage" / "flights", Path.mkdir, []
    make_folder(parent)

    def late(path, *args, **kwargs):
        if path.name == "run" and not removed:
            removed.append(path)
            parent.rmdir()
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", late)
    make_folder(parent / "run")
    assert (parent / "run").is_dir()
    assert removed


def test_a_run_that_cleans_up_while_its_files_are_listed_has_none(tmp_path, monkeypatch):
    folder, scandir = tmp_path / "flights" / "abc", os.scandir
    (folder / "p0").mkdir(parents=True)
    (folder / "p0" / "1.parquet").touch()
    files = StageFiles(tmp_path, "flights", direct)
    assert files.under("abc") == ["flights/abc/p0/1.parquet"]

    def late(path):
        monkeypatch.setattr(os, "scandir", scandir)
        shutil.rmtree(folder)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert files.under("abc") == []
