"""What one can type after the demo."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from service.demo.narration import Narrator
from service.demo.pipeline import PROPOSED, config_file


def tell_next(tell: Narrator, folder: Path, run: str) -> None:
    """`run`: the name of a run that was killed and went on."""
    here, config = shlex.quote(str(folder)), shlex.quote(str(config_file(folder)))
    python, sluiceway = program("python"), program("sluiceway")
    cheat = f"import duckdb; duckdb.connect({str(folder / 'warehouse.duckdb')!r}).execute({CHEAT!r})"
    tell.say("Go on from here:", "bold")
    tell.commands("every window and its proof", f"{sluiceway} windows -c {config}")
    tell.commands("the run that was killed, phase by phase", f"{sluiceway} show {run} -c {config}")
    proposed = folder / PROPOSED / "planes.yaml"
    if proposed.exists():
        tell.commands("what was proposed for MariaDB, with its reasons", f"cat {shlex.quote(str(proposed))}")
    tell.commands(
        "cheat: take one flight away, and ask for the proof again",
        f'{python} -c "{cheat}"',
        f"{python} -m service.demo.check {here}",
    )
    tell.commands(
        "the search server ended with the demo; this brings it back, in a second terminal",
        f"{python} -m service.demo.serve {here}",
    )
    tell.commands(
        "then: what would run now, and a week done again, which brings the flight back and doubles none",
        f"{sluiceway} plan -c {config}",
        f"{sluiceway} backfill --from {FIRST} --to {THEN} -c {config}",
        f"{python} -m service.demo.check {here}",
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
