"""The query tag: what a statement was for, as Snowflake's query history shows it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

LONGEST = 2_000
"""Characters of a query tag that Snowflake keeps."""


@dataclass(frozen=True)
class Tag:
    """Where a statement belongs. Names and numbers only, never data and never a secret."""

    pipeline: str | None = None
    run: str | None = None
    window: str | None = None
    attempt: int | None = None
    phase: str | None = None

    def __str__(self) -> str:
        """JSON of at most 2,000 characters; a text that is too long is cut, the JSON stays whole."""
        fields = {"app": "sluiceway"} | {name: value for name, value in asdict(self).items() if value is not None}
        room = LONGEST
        while len(told := json.dumps(fields, separators=(",", ":"))) > LONGEST:
            room = room * 3 // 4
            fields = {name: value[:room] if isinstance(value, str) else value for name, value in fields.items()}
        return told
