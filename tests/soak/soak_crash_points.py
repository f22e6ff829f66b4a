"""Every effect of a run, not only the first and last of its kind: killed before, after, and its answer lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lifecycle.test_crash import MODES, Moment, Point, no_fault, wrong_at


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_every_effect_of_a_run(tmp_path: Path, mode: str):
    names, expected = no_fault(tmp_path, mode)
    todo = [Point(number, name, moment) for number, name in enumerate(names) for moment in Moment]
    wrong = wrong_at(tmp_path, mode, todo, expected)
    print(f"\n{mode}: {len(todo)} crash points, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
