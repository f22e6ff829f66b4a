"""The demo's second source: a MariaDB that is asked what it has, loaded by what was proposed, and proven."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from loaders.duckdb.look import look
from service.config import load_config
from service.demo import words
from service.demo.evidence import Evidence, chain, proven, receipts_of
from service.demo.fingerprint import fingerprint
from service.demo.mariadb import MariaServer, maria_server
from service.demo.narration import Narrator
from service.demo.pipeline import PROPOSED, WAREHOUSE
from service.demo.planes import COLUMNS, HARD, KEY, ODD, ZERO, expected, planes, statements
from service.demo.process import runs_of
from service.demo.tables import HardValue, hard_table, pipelines_table
from service.source_url import PASSWORD
from state.errors import ConfigurationError, PermanentError
from state.model import Run

PLANES, AIRLINES = "planes", "airlines"


class Second(msgspec.Struct, frozen=True):
    """What was found. `touched`: values that the policies changed, as the runs counted them."""

    version: str
    evidence: Evidence
    touched: int
    airlines: int


def tell_second(tell: Narrator, folder: Path, first: Evidence) -> Second | None:
    """The whole step; `first`: what was found of the search server. None without a MariaDB, and why."""
    try:
        with maria_server(folder / "mariadb.log") as server:
            return told(tell, folder, server, first)
    except ConfigurationError as error:
        if error.code not in ("missing_package", "server"):
            raise
        tell.bad(words.NO_MARIADB.format(why=error.message))
        tell.say(error.hint)
        return None


def told(tell: Narrator, folder: Path, server: MariaServer, first: Evidence) -> Second:
    rows = planes()
    server.run(statements(rows, datetime.now(UTC)))
    tell.say(words.PLANES.format(version=server.version, planes=len(rows)))
    typed(tell, folder, server, "init", "--from", server.url, "--out", PROPOSED, shown=True)
    file = f"{PROPOSED}/{PLANES}.yaml"
    tell.say(words.PROPOSES.format(file=folder / file))
    tell.output(decisions((folder / file).read_text()))
    tell.say(words.LOAD_PLANES)
    for name in (PLANES, AIRLINES):
        config = f"{PROPOSED}/{name}.yaml"
        typed(tell, folder, server, "drive", "init", "-c", config, shown=False)
        typed(tell, folder, server, "run", "-c", config, shown=name == PLANES)
    tell.say(words.HARD_VALUES)
    tell.show(hard_table(hard_values(server, folder / WAREHOUSE)))
    found = gathered(folder, server, rows)
    tell.say(words.BOTH.format(touched=found.touched))
    tell.show(pipelines_table({"flights": first, PLANES: found.evidence}))
    return found


def typed(tell: Narrator, folder: Path, server: MariaServer, *arguments: str, shown: bool) -> None:
    """A command of `sluiceway` in the demo's folder, and what it says if `shown`. Raises `PermanentError`."""
    if shown or arguments[0] == "run":
        tell.command(shlex.join(["sluiceway", *arguments]))
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=folder,
        env={**os.environ, PASSWORD: server.password, "COLUMNS": str(tell.width)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PermanentError(
            f"`sluiceway {arguments[0]}` ended with {done.returncode}: {(done.stderr or done.stdout)[-600:]}",
            code="demo",
        )
    if shown:
        tell.output(done.stdout.rstrip().rpartition("\nNext: ")[0])


def decisions(text: str) -> str:
    """The part of a configuration that says what is read."""
    return text[text.index("source_system:") : text.index("target_system:")].strip()


def hard_values(server: MariaServer, database: Path) -> list[HardValue]:
    """The values of the oddest plane, as the source's own client prints them and as the target has them."""
    first = planes()[0][KEY]
    printed = server.run(f"SELECT {', '.join(HARD)} FROM planes WHERE {KEY} = '{first}'").rstrip("\n").split("\t")
    texts = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name in HARD)
    [held] = look(database, f"SELECT {texts} FROM planes WHERE {KEY} = '{first}'").to_pylist()
    return [
        HardValue(name, source, held[name], name not in ODD) for name, source in zip(HARD, printed, strict=True)
    ]


def gathered(folder: Path, server: MariaServer, rows: Sequence[Mapping[str, object]]) -> Second:
    """The proof of the planes, as that of the flights is made."""
    database = folder / WAREHOUSE
    runs = runs_in(folder, PLANES)
    receipts, repeated = receipts_of(database, PLANES)
    evidence = Evidence(
        runs=len(runs),
        proven=proven(runs),
        receipts=receipts,
        repeated_receipts=repeated,
        chain=tuple(chain(runs)),
        source=fingerprint(expected(rows), KEY),
        target=fingerprint(look(database, f"SELECT {', '.join(COLUMNS)} FROM planes"), KEY),
    )
    touched = sum(sum(part.touched.values()) for run in runs for part in run.manifest.parts)
    zeros = int(server.run(f"SELECT COUNT(*) FROM planes WHERE last_check = '{ZERO}'"))
    if touched < zeros:
        raise PermanentError(f"{zeros} zero dates, and {touched} counted", code="demo")
    [airlines] = look(database, "SELECT count(*) AS rows FROM airlines")["rows"].to_pylist()
    return Second(server.version, evidence, touched, airlines)


def runs_in(folder: Path, name: str) -> list[Run]:
    """The runs of a proposed pipeline, whose paths begin in the demo's folder."""
    with chdir(folder):
        return runs_of(load_config(Path(PROPOSED, f"{name}.yaml")))
