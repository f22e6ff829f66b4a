"""The command line for tests: in this process for speed, or in a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.app import drive_of
from service.cli.main import command_line
from state.drive import Event
from tests.lifecycle.world import World, defaults, merged

ROOT = Path(__file__).parents[2]
FRAME = re.compile(r"[╭╮╰╯│─\s]+")


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Everything as one line, without the frames of panels, so that a wrapped sentence is found."""
        return FRAME.sub(" ", self.out + " " + self.err)


def sluiceway(*words: object) -> Answer:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = command_line([str(word) for word in words])
    return Answer(code, out.getvalue(), err.getvalue())


def process(*words: object, folder: Path, **environment: str) -> Answer:
    """Run a command in a process of its own, with `folder` as working directory."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *(str(word) for word in words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline from files into DuckDB, below `root`, with its configuration in a file."""

    root: Path
    settings: dict

    @property
    def config(self) -> Path:
        return self.root / "events.yaml"

    @property
    def world(self) -> World:
        return World(self.root, self.settings)

    def save(self, **changes: dict) -> None:
        """Write the configuration, changed for good."""
        self.settings.update(merged(self.settings, changes))
        self.config.write_text(yaml.safe_dump(merged(defaults(self.root), self.settings), sort_keys=False))

    def actions(self) -> list[Event]:
        """Operator's actions in the drive table, newest first."""

        async def look() -> list[Event]:
            async with drive_of(self.world.config) as drive:
                return await drive.events("events")

        return asyncio.run(look())

    def do(self, *words: object) -> Answer:
        """A command on this pipeline."""
        return sluiceway(*words, "--config", self.config)


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder` with the hash of what it holds, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }
