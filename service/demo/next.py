"""What one can type after the demo."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from service.demo.narration import Narrator
from service.demo.pipeline import config_file


def tell_next(tell: Narrator, folder: Path, run: str) -> None:
    """`run`: the name of a run that was killed and went on."""
    here, config, python = shlex.quote(str(folder)), shlex.quote(str(config_file(folder))), program("python")
    sluiceway = program("sluiceway")
    tell.say("Go on from here:", "bold")
    tell.command(f"{sluiceway} windows -c {config}       # every window and its proof; no gaps")
    tell.command(f"{sluiceway} show {run} -c {config}       # the run that was killed")
    tell.say("Cheat, and see it found (this takes one flight away, and counts again):", "bold")
    cheat = f"import duckdb; duckdb.connect('{folder}/warehouse.duckdb').execute('{CHEAT}')"
    tell.command(f'{python} -c "{cheat}"; {python} -m service.demo.check {here}')
    tell.say("The search server went with the demo; in a second terminal this brings it back, then:", "bold")
    tell.command(f"{python} -m service.demo.serve {here}")
    tell.command(f"{sluiceway} plan -c {config}       # what would run now: nothing, all is loaded")
    tell.command(
        f"{sluiceway} backfill --from {FIRST} --to {THEN} -c {config}       # a week again: repaired, not doubled"
    )


CHEAT = "DELETE FROM flights WHERE rowid = 0"
FIRST, THEN = "2013-01-01T05:00Z", "2013-01-08T05:00Z"


def program(name: str) -> str:
    """How `name` of this Python's environment is typed here: by its name alone if that finds it."""
    beside = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found is not None and Path(found).absolute() == beside.absolute():
        return name
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
