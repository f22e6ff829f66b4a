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
MOST_BYTES: Final = 2_000_000_000
"""Bytes of a row at most: a server sends half as much in one value, and a column's offsets have 31 bits."""
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
        self,
        *,
        ends_with_ok: bool = False,
        page_bytes: int = PAGE_BYTES,
        page_rows: int = PAGE_ROWS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.names: list[str] | None = None
        """The columns of the result, when they came."""
        self.is_ended = False
        """The packet that ends the answer came: with success, or with the error that was raised."""
        self._page_bytes, self._page_rows, self._most_bytes = page_bytes, page_rows, most_bytes
        self._ends_with_ok = ends_with_ok
        self._sequence = 1
        self._joined: list[int] = []  # a row's number, for each packet of it after the first
        self._bounds: list[int] = [PADDING]  # where each row begins, with its header, and where the last one ends
        self._next = PADDING  # where the next packet begins: there, or in the midst of a row of several packets
        self._hold(memoryview(b""), page_bytes)

    @property
    def is_full(self) -> bool:
        """True if `take` should be asked for the rows before more is read."""
        full = self._filled >= self._page_bytes or self._rows >= self._page_rows
        return self.is_ended or (full and self._rows > 0 and self.names is not None)

    @property
    def _rows(self) -> int:
        return len(self._bounds) - 1

    def room(self) -> memoryview:
        """Where the next bytes are written; never empty. Tell `arrived` how many before anything else."""
        end = len(self._data) - PADDING
        if self._filled == end:
            self._hold(memoryview(self._data)[PADDING:end], 2 * end)
            end = len(self._data) - PADDING
        return memoryview(self._data)[self._filled : min(end, self._filled + ROOM_BYTES)]

    def arrived(self, size: int) -> None:
        """Look for rows in the bytes that came.

        Raises the server's error if it sent one, 2027 for no result, 2020 for a row of more than `MOST_BYTES`.
        """
        self._filled += size
        while self._walk() and self._long_packet():
            pass
        if not self._rows and self._filled > self._most_bytes:
            raise OperationalError(CR.CR_NET_PACKET_TOO_LARGE, f"a row has more than {self._most_bytes} bytes")
        if self.names is None:
            self._read_head()
        if self.names is not None and self._rows and self._next == self._filled:
            self._look_for_end()

    def take(self) -> Page:
        """The whole rows that came; what is there of the next one stays. Raises 2027 if packets are missing."""
        bounds = np.array(self._bounds, np.int64)
        page = Page(self._data, bounds[:-1] + HEADER, bounds[1:])
        self._check(page)
        begin = self._bounds[-1]
        self._next += PADDING - begin
        self._bounds = [PADDING]
        self._hold(memoryview(self._data)[begin : self._filled], self._page_bytes)
        return page

    def _hold(self, kept: memoryview, size: int) -> None:
        """Go on in another buffer, with `kept` at its begin and place for `size` bytes in all, or for more."""
        self._data = bytearray(max(size, len(kept) + HEADER) + 2 * PADDING)
        self._filled = PADDING + len(kept)
        self._data[PADDING : self._filled] = kept

    def _walk(self) -> bool:
        """Go from packet to packet, as far as they are whole and short. True if there is a long one."""
        at, bounds, data, last = self._next, self._bounds, self._data, self._filled - HEADER
        is_long = at != bounds[-1]
        while at <= last and not is_long:
            if data[at + 2]:
                is_long = True
            else:
                at += HEADER + data[at] + (data[at + 1] << 8)
                bounds.append(at)
        if at > self._filled:
            bounds.pop()
            at = bounds[-1]
        self._next = at
        return is_long and at <= last

    def _long_packet(self) -> bool:
        """Pass a packet of any length, and take out its header if a row goes on behind it. True if it is whole."""
        at, data = self._next, self._data
        length = int.from_bytes(data[at : at + 3], "little")
        end = at + HEADER + length
        if end > self._filled:
            return False
        if at != self._bounds[-1]:
            rest = bytes(memoryview(data)[at + HEADER : self._filled])
            self._filled -= HEADER
            data[at : self._filled] = rest
            self._joined.append(self._rows)
            end -= HEADER
        self._next = end
        if length < LONGEST:
            self._bounds.append(end)
        return True

    def _read_head(self) -> None:
        """Take the packets before the rows, when all of them came."""
        if not self._rows:
            return
        self._refuse()
        count = self._parsed(lambda: int(MysqlPacket(self._payload(0), "utf8").read_length_encoded_integer()))
        size = 1 + count + (0 if self._ends_with_ok else 1)
        for number in range(min(size, self._rows)):
            if self._first(number) == ERROR:
                self._fail(number)
        if self._rows >= size:
            self.names = self._parsed(lambda: [self._name(number) for number in range(1, count + 1)])
            del self._bounds[:size]
            self._sequence += size

    def _refuse(self) -> None:
        """Raises if the first packet is not the number of columns."""
        first = self._first(0)
        if first == ERROR:
            self._fail(0)
        if first in (OK, LOCAL_FILE):
            self.is_ended = first == OK
            raise malformed("the answer to a query has no columns" if self.is_ended else "a file is asked for")

    def _name(self, number: int) -> str:
        return str(FieldDescriptorPacket(self._payload(number), "utf8").name)

    @staticmethod
    def _parsed(parse: Callable[[], T]) -> T:
        try:
            return parse()
        except _NO_PACKET as error:
            raise malformed("the columns of the answer cannot be read") from error

    def _look_for_end(self) -> None:
        """See whether the last packet ends the result."""
        last = self._rows - 1
        first = self._first(last)
        if first == ERROR:
            self._fail(last)
        if first == END and self._bounds[last + 1] - self._bounds[last] - HEADER < self._longest_end:
            del self._bounds[-1]
            self.is_ended = True

    @property
    def _longest_end(self) -> int:
        return LONGEST if self._ends_with_ok else 9

    def _fail(self, number: int) -> None:
        """Raise the error in this packet."""
        self.is_ended = True
        self._parsed(lambda: raise_mysql_exception(self._payload(number)))

    def _first(self, number: int) -> int:
        """The first byte in a packet; that of a row if it has none."""
        begin, end = self._bounds[number], self._bounds[number + 1]
        return self._data[begin + HEADER] if end > begin + HEADER else 1

    def _payload(self, number: int) -> bytes:
        return bytes(self._data[self._bounds[number] + HEADER : self._bounds[number + 1]])

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
