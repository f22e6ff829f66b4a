"""SQL about rows that is the same in every dialect: which are the same row, and which of two is newer.

`s` is a row of the stage, `t` one of the target. A row's order is `(version NULLS FIRST, _sluiceway_read_at)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class RowOrder(ABC):
    """How rows of one target are told apart and ordered; columns as they are called in the target.

    A dialect says how it quotes a name, and how it spells `_sluiceway_read_at`.
    """

    read_at: ClassVar[str]

    key: tuple[str, ...]
    version: str | None
    cursor: str | None
    cursor_immutable: bool

    @staticmethod
    @abstractmethod
    def quoted(name: str) -> str:
        """`name` as an identifier of the dialect."""

    @property
    def match(self) -> str:
        """`t` and `s` are the same row. With an immutable cursor the target may skip what lies at other times."""
        pruning = self.cursor if self.cursor_immutable else None
        names = [*self.key, *([] if pruning is None or pruning in self.key else [pruning])]
        return " AND ".join(f"t.{self.quoted(name)} = s.{self.quoted(name)}" for name in names)

    @property
    def ordering(self) -> list[str]:
        """Columns that tell rows apart and order them, `_sluiceway_read_at` too."""
        return [*self.key, *([] if self.version is None else [self.version]), self.read_at]

    @property
    def newer(self) -> str:
        """`s` is newer than `t`."""
        return self._above("s", "t")

    @property
    def older(self) -> str:
        """`s` is older than `t`."""
        return self._above("t", "s")

    @property
    def level(self) -> str:
        """`s` and `t` are of one version."""
        if self.version is None:
            return "TRUE"
        return f"s.{self.quoted(self.version)} IS NOT DISTINCT FROM t.{self.quoted(self.version)}"

    def _above(self, a: str, b: str) -> str:
        later = above(f"{a}.{self.quoted(self.read_at)}", f"{b}.{self.quoted(self.read_at)}")
        if self.version is None:
            return f"({later})"
        v, w = f"{a}.{self.quoted(self.version)}", f"{b}.{self.quoted(self.version)}"
        return f"({above(v, w)} OR ({v} IS NOT DISTINCT FROM {w} AND {later}))"


def above(a: str, b: str) -> str:
    """`a` is greater than `b`, where NULL is less than anything."""
    return f"({a} IS NOT NULL AND ({b} IS NULL OR {a} > {b}))"
