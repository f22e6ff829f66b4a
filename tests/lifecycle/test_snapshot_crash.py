"""A swap of a whole table that is killed at any of its effects leaves the old table or the new one.

What comes before the swap is the same in every mode, and `test_crash.py` has it.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from state.model import RunStatus
from tests.lifecycle.ports import Moment, recorder, run_into_trap
from tests.lifecycle.processes import exit_code
from tests.lifecycle.test_snapshot_mode import COUNTRIES, fill, held, world
from tests.lifecycle.world import World

CHANGED = {"at": "Österreich", "fr": "France"}
SWAP = ("loader.fence.", "loader.merge.")


def before_the_swap(root: Path) -> World:
    """The target holds `COUNTRIES`; the next window's run is to swap `CHANGED` in."""
    first = world(root, 1)
    fill(first, COUNTRIES)
    first.run()
    then = world(root, 2)
    fill(then, CHANGED)
    return then


def wrong_after(prepared: Path, effect: str, moment: Moment) -> str:
    """Kill at an effect, look, and go on; what is wrong, or an empty text."""
    there = world(prepared.parent / f"{effect}-{moment.name}", 2)
    shutil.copytree(prepared, there.root)
    code = exit_code(run_into_trap, there, effect, 1, moment)
    found = held(there)
    there.run()
    end, statuses = held(there), {run.status for run in there.runs()}
    if moment is not Moment.ANSWER_LOST and code != -9:
        return f"{moment} {effect}: was not killed, exit {code}"
    whole = found in (COUNTRIES, CHANGED) and end == CHANGED
    if whole and statuses == {RunStatus.COMPLETED} and len(there.receipts()) == 2:
        return ""
    return f"{moment} {effect}: {found}, then {end}, {statuses}, {there.receipts()}"


def test_killed_at_any_effect_of_the_swap_the_table_is_the_old_one_or_the_new_one(tmp_path):
    log = tmp_path / "effects"
    before_the_swap(tmp_path / "without-fault").run(recorder(log))
    prepared = before_the_swap(tmp_path / "prepared").root
    effects = sorted({name for name in log.read_text().split() if name.startswith(SWAP)})
    assert {f"loader.merge.{one}" for one in ("delete", "insert", "receipt", "commit")} <= {*effects}
    with ThreadPoolExecutor(2) as pool:
        points = [(effect, moment) for effect in effects for moment in Moment]
        wrong = [text for text in pool.map(lambda point: wrong_after(prepared, *point), points) if text]
    assert not wrong, "\n".join(wrong)
