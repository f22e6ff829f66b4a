"""Counting passes over cursor columns: how many rows a span holds, and where it can be cut.

What a pass learns of a file is kept for as long as the file stays the same, so that later passes and readers
leave out files that hold nothing of their span.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet

import pyarrow as pa
import pyarrow.compute as pc

from connectors.cursor import Extent, counts_of, held, offsets
from connectors.files.formats import Format
from connectors.files.listing import SourceFile, reading
from state.model import Window

Cursors = Generator[tuple[pa.DataType, pa.Array], None, None]


class Scanner:
    """Passes over the cursor columns of files. Its generators block, and are stepped in a thread.

    `require`: raises unless a file, seen for the first time, has the contract's columns.
    """

    def __init__(self, format_: Format, require: Callable[[SourceFile], None]) -> None:
        self._format = format_
        self._require = require
        self._extents: dict[SourceFile, Extent] = {}

    def may_hold(self, file: SourceFile, span: Window | None) -> bool:
        """False if an earlier pass saw that nothing of the file lies in `span`."""
        known = self._extents.get(file)
        return span is None or known is None or known.meets(span)

    def extents(self, files: Iterable[SourceFile]) -> list[Extent]:
        """What is known of `files`."""
        return [self._extents[file] for file in files if file in self._extents]

    def rows(self, files: Iterable[SourceFile]) -> int:
        """Rows of `files`; every one of them has been passed over."""
        return sum(extent.rows for extent in self.extents(files))

    def nulls(self, files: Iterable[SourceFile]) -> int:
        """Rows of `files` whose cursor is NULL; every one of them has been passed over."""
        return sum(extent.nulls for extent in self.extents(files))

    def passing(self, files: Sequence[SourceFile], span: Window) -> Cursors:
        """Type and counts of each piece of the cursor column, of the files that may hold something of `span`."""
        for file in files:
            if self.may_hold(file, span):
                yield from self._whole(file)

    def all_of(self, files: Sequence[SourceFile]) -> Cursors:
        """The same of all files that no pass has seen yet."""
        for file in files:
            if file not in self._extents:
                yield from self._whole(file)

    def _whole(self, file: SourceFile) -> Cursors:
        extent: Extent | None = None
        with reading(file):
            if file not in self._extents:
                self._require(file)
            for values in self._format.cursors(file):
                counts = counts_of(values)
                extent = (extent or Extent(values.type)).with_counts(counts)
                yield values.type, counts
        self._extents[file] = extent or Extent(pa.timestamp("us", "UTC"))


class Counting:
    """Rows of a span, counted piece by piece."""

    def __init__(self, span: Window) -> None:
        self.rows = 0
        self._span = span

    def steps(self, cursors: Cursors) -> Generator[int, None, None]:
        """Count; yields the sum so far after each piece."""
        for type_, counts in cursors:
            self.rows += pc.sum(held(type_, counts, self._span), min_count=0).as_py()
            yield self.rows


class Tally:
    """Rows of a span by cells of `width` microseconds, numbered from its start.

    `over`: cells of `above` microseconds; only what lies in one of them is counted. None: all.
    """

    def __init__(self, span: Window, width: int, over: AbstractSet[int] | None, above: int) -> None:
        self.rows: Counter[int] = Counter()
        self._span = span
        self._width = width
        self._over = None if over is None else pa.array(sorted(over), pa.int64())
        self._above = above

    def steps(self, cursors: Cursors) -> Generator[int, None, None]:
        """Count; yields the number of cells so far after each piece."""
        for type_, counts in cursors:
            since = offsets(type_, counts, self._span)
            if self._over is not None:
                since = since.filter(pc.is_in(pc.divide(since, self._above), self._over))
            for cell in pc.value_counts(pc.divide(since, self._width)).to_pylist():
                self.rows[cell["values"]] += cell["counts"]
            yield len(self.rows)
