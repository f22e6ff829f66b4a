"""Whether a pipeline is paused, as the drive table tells: whichever daemon was told, all that share it know."""

from __future__ import annotations

from service.worker import Worker

PAUSE, RESUME = "pause", "resume"
AT_FIRST, LATER = 1000, 100
"""Acts of an operator that are looked through when a pipeline is opened, and at each look after that."""


async def is_paused(worker: Worker, known: bool | None = None) -> bool:
    """What was told last; `known` if neither was lately. None: the pipeline is just being opened."""
    limit = AT_FIRST if known is None else LATER
    acts = await worker.tried(lambda: worker.drive.events(worker.pipeline, limit))
    return next((act.action == PAUSE for act in acts if act.action in (PAUSE, RESUME)), bool(known))
