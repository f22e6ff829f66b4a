"""Files of lines, a few MiB at a time: whole lines with their numbers, UTF-8, and the last one ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from connectors.cursor import Extent
from connectors.files.declared import refuse_text
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings

BLOCK_BYTES = 2 * 1024 * 1024
"""Bytes that are read at once. As lines and values in Python they are some ten times as many."""
LINE_BYTES = 64 * 1024 * 1024
"""A line may not be longer."""


@dataclass(frozen=True)
class Lines:
    """Lines without their ends, and their numbers in the file, from 1.

    `start` and `size`: where the file has them, in bytes, with their ends.
    """

    start: int
    size: int
    numbers: Sequence[int]
    texts: Sequence[bytes]

    def only(self, mask: pa.Array) -> Lines:
        """Those where `mask` is true."""
        kept = pc.indices_nonzero(mask).to_pylist()
        if len(kept) == len(self.texts):
            return self
        return Lines(self.start, self.size, [self.numbers[n] for n in kept], [self.texts[n] for n in kept])


@dataclass(frozen=True)
class Block:
    """Where lines lie in a file, in bytes; the number of the first, and what their cursors hold."""

    start: int
    size: int
    first: int
    extent: Extent


def read_lines(file: SourceFile, settings: FilesSettings) -> Iterator[Lines]:
    """All lines of a file. Raises `ContractError` if one is not UTF-8, or is too long, or the last has no end."""
    number, start, rest = 1, 0, b""
    with Path(file.path).open("rb") as source:
        while data := source.read(BLOCK_BYTES):
            whole, end, rest = (rest + data).rpartition(b"\n")
            if end:
                yield (lines := _checked(file, whole, number, start))
                number, start = number + len(lines.texts), start + lines.size
            elif len(rest) > LINE_BYTES:
                refuse_text(file, f"line {number}", f"it is longer than {LINE_BYTES:,} bytes")
    if rest:
        if settings.final_newline == "required":
            refuse_text(file, f"line {number}", "it does not end with a line break, so it may have been cut off")
        yield _checked(file, rest, number, start)


def read_blocks(file: SourceFile, blocks: Iterable[Block]) -> Iterator[Lines]:
    """Lines that were read and checked before, of a file that is still the same."""
    with Path(file.path).open("rb") as source:
        for block in blocks:
            source.seek(block.start)
            yield _lines(source.read(block.size).removesuffix(b"\n"), block.first, block.start)


def _checked(file: SourceFile, text: bytes, number: int, start: int) -> Lines:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = number + text.count(b"\n", 0, error.start)
        refuse_text(file, f"line {line}", f"it is not UTF-8: {error.reason}")
    return _lines(text, number, start)


def _lines(text: bytes, number: int, start: int) -> Lines:
    texts = text.split(b"\n")
    return Lines(start, len(text) + 1, range(number, number + len(texts)), texts)
