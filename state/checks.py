"""What a look at a source, a stage or a target found: the lines of `sluiceway doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One question and its answer. `hint` says what to do when `ok` is False."""

    name: str
    ok: bool
    found: str
    hint: str = ""
