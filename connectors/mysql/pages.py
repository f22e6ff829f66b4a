"""Packets of a result, as they come from a socket → pages of whole rows.

A row is one packet, or several where it has 16 MB and more: their inner headers are taken out as they come. The
bytes lie in the page as they were read; nothing is decoded here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pymysql.constants import CR
from pymysql.err import OperationalError, raise_mysql_exception
from pymysql.protocol import FieldDescriptorPacket, MysqlPacket

PAGE_BYTES: Final = 2 * 1024 * 1024
"""What a page is filled up to; a longer row has a page of its own length."""
PAGE_ROWS: Final = 1 << 17
"""Rows of a page at most, about."""
ROOM_BYTES: Final = 256 * 1024
"""Bytes that are taken from a socket at once: their packets are found in some milliseconds."""
PADDING: Final = 32
"""Free bytes before and behind the rows of a page, for reads of whole machine words."""
HEADER: Final = 4
LONGEST: Final = 0xFFFFFF
"""Bytes of a packet that is continued by the next one."""
OK, LOCAL_FILE, END, ERROR = 0x00, 0xFB, 0xFE, 0xFF
"""First bytes of packets that are no rows."""

_NO_PACKET = (struct.error, AssertionError, IndexError, AttributeError, ValueError)
"""What the driver stumbles over where a packet is none of its kind."""

_header = struct.Struct("<I").unpack_from

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """Rows as they came: that of number i is `data[starts[i]:ends[i]]`, with `PADDING` free bytes around all."""

    data: bytearray
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


def malformed(what: str) -> OperationalError:
    """The error of bytes that are no result as the protocol has it."""
    return OperationalError(CR.CR_MALFORMED_PACKET, f"Malformed packet: {what}")


class Packets:
    """A buffer that the answer to a query is read into, and the whole rows in it.

    `ends_with_ok`: the connection negotiated that an OK packet, and no EOF packet, is the end (DEPRECATE_EOF).
    Not thread-safe.
    """

    def __init__(
        self, *, ends_with_ok: bool = False, page_bytes: int = PAGE_BYTES, page_rows: int = PAGE_ROWS
    ) -> None:
        self.names: list[str] | None = None
        """The columns of the result, when they came."""
        self.is_ended = False
        """The packet that ends the answer came: with success, or with the error that was raised."""
        self._page_bytes, self._page_rows = page_bytes, page_rows
        self._ends_with_ok = ends_with_ok
        self._sequence = 1
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._joined: list[int] = []  # a row's number, for each packet of it after the first
        self._part = 0  # where the row begins of which some packets are joined already; 0: none
        self._next = PADDING  # where the next packet begins
        self._hold(memoryview(b""), page_bytes)

    @property
    def is_full(self) -> bool:
        """True if `take` should be asked for the rows before more is read."""
        full = self._filled >= self._page_bytes or len(self._starts) >= self._page_rows
        return self.is_ended or (full and bool(self._starts) and self.names is not None)

    def room(self) -> memoryview:
        """Where the next bytes are written; never empty. Tell `arrived` how many before anything else."""
        end = len(self._data) - PADDING
        if self._filled == end:
            self._hold(memoryview(self._data)[PADDING:end], 2 * end)
            end = len(self._data) - PADDING
        return memoryview(self._data)[self._filled : min(end, self._filled + ROOM_BYTES)]

    def arrived(self, size: int) -> None:
        """Look for rows in the bytes that came. Raises the server's error if it sent one, 2027 for no result."""
        self._filled += size
        self._walk()
        if self.names is None:
            self._read_head()
        if self.names is not None and self._starts and self._next == self._filled:
            self._look_for_end()

    def take(self) -> Page:
        """The whole rows that came; what is there of the next one stays. Raises 2027 if packets are missing."""
        page = Page(self._data, np.array(self._starts, np.int64), np.array(self._ends, np.int64))
        self._check(page)
        begin = self._part or self._next
        self._next += PADDING - begin
        self._part = PADDING if self._part else 0
        self._starts, self._ends = [], []
        self._hold(memoryview(self._data)[begin : self._filled], self._page_bytes)
        return page

    def _hold(self, kept: memoryview, size: int) -> None:
        """Go on in another buffer, with `kept` at its begin and place for `size` bytes in all, or for more."""
        self._data = bytearray(max(size, len(kept) + HEADER) + 2 * PADDING)
        self._filled = PADDING + len(kept)
        self._data[PADDING : self._filled] = kept

    def _walk(self) -> None:
        """Go from packet to packet, as far as they are whole."""
        starts, ends, data = self._starts, self._ends, self._data
        at = self._next
        while at + HEADER <= self._filled:
            length = _header(data, at)[0] & LONGEST
            after = at + HEADER + length
            if after > self._filled:
                break
            if length == LONGEST or self._part:
                at = self._join(at, length)
                continue
            starts.append(at + HEADER)
            ends.append(after)
            at = after
        self._next = at

    def _join(self, at: int, length: int) -> int:
        """Take out the header at `at` if a row goes on behind it; gives where the next packet begins."""
        if not self._part:
            self._part = at + HEADER
            return at + HEADER + length
        rest = bytes(memoryview(self._data)[at + HEADER : self._filled])
        self._filled -= HEADER
        self._data[at : self._filled] = rest
        self._joined.append(len(self._starts))
        if length < LONGEST:
            self._starts.append(self._part)
            self._ends.append(at + length)
            self._part = 0
        return at + length

    def _read_head(self) -> None:
        """Take the packets before the rows, when all of them came."""
        for start in self._starts[:1]:
            self._refuse(start)
        if not self._starts:
            return
        count = self._parsed(lambda: MysqlPacket(self._payload(0), "utf8").read_length_encoded_integer())
        size = 1 + count + (0 if self._ends_with_ok else 1)
        for number, start in enumerate(self._starts[1:size], 1):
            if self._data[start] == ERROR:
                self._fail(number)
        if len(self._starts) >= size:
            self.names = self._parsed(lambda: [self._name(number) for number in range(1, count + 1)])
            del self._starts[:size], self._ends[:size]
            self._sequence += size

    def _name(self, number: int) -> str:
        return str(FieldDescriptorPacket(self._payload(number), "utf8").name)

    @staticmethod
    def _parsed(parse: Callable[[], T]) -> T:
        try:
            return parse()
        except _NO_PACKET as error:
            raise malformed("the columns of the answer cannot be read") from error

    def _refuse(self, start: int) -> None:
        """Raises if the first packet is not the number of columns."""
        first = self._data[start]
        if first == ERROR:
            self._fail(0)
        if first in (OK, LOCAL_FILE):
            self.is_ended = first == OK
            raise malformed("the answer to a query has no columns" if self.is_ended else "a file is asked for")

    def _look_for_end(self) -> None:
        """See whether the last packet ends the result."""
        first, length = self._data[self._starts[-1]], self._ends[-1] - self._starts[-1]
        if first == ERROR and length:
            self._fail(-1)
        if first == END and 0 < length < self._longest_end:
            del self._starts[-1], self._ends[-1]
            self.is_ended = True

    @property
    def _longest_end(self) -> int:
        return LONGEST if self._ends_with_ok else 9

    def _fail(self, number: int) -> None:
        self.is_ended = True
        raise_mysql_exception(self._payload(number))

    def _payload(self, number: int) -> bytes:
        return bytes(self._data[self._starts[number] : self._ends[number]])

    def _check(self, page: Page) -> None:
        """Raises 2027 if packets are missing, or if some follow the end."""
        rows = len(page)
        data = np.frombuffer(page.data, np.uint8)
        order = np.arange(self._sequence, self._sequence + rows + 1)
        for row in self._joined:
            order[row + 1 :] += 1
        if (data[page.starts - 1] != order[:-1] & 0xFF).any():
            raise malformed("its number is not the next one")
        for row in np.flatnonzero(data[page.starts] >= END).tolist():
            if data[page.starts[row]] == ERROR or page.ends[row] - page.starts[row] < self._longest_end:
                raise malformed("more follows the end")
        self._sequence = int(order[-1])
        self._joined = [row - rows for row in self._joined if row >= rows]
