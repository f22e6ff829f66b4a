"""What a server writes as the answer to a query, byte for byte, and how it is read here without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from connectors.mysql.decode import Decoded
from connectors.mysql.pages import Packets, Page

LONGEST = 0xFFFFFF
EOF = b"\xfe\x00\x00\x02\x00"
OK_END = b"\xfe\x00\x00\x02\x00\x00\x00and what else a server may say"
KILLED = b"\xff" + (1317).to_bytes(2, "little") + b"#70100Query execution was interrupted"


def value(raw: bytes | None, width: int = 1) -> bytes:
    """A value with its length in `width` bytes (1, 2, 3 or 8), in more if it needs them."""
    if raw is None:
        return b"\xfb"
    if width == 1 and len(raw) < 0xFB:
        return bytes([len(raw)]) + raw
    for sign, bytes_ in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if width <= bytes_ and len(raw) < 1 << 8 * bytes_:
            return bytes([sign]) + len(raw).to_bytes(bytes_, "little") + raw
    raise AssertionError


def row(*raws: bytes | None) -> bytes:
    return b"".join(map(value, raws))


def described(name: str) -> bytes:
    """The packet that describes a column."""
    texts = [b"def", b"shop", b"t", b"t", name.encode(), name.encode()]
    return row(*texts) + b"\x0c\x2d\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"


def packets(payloads: Sequence[bytes], sequence: int = 1) -> bytes:
    """The payloads with their headers; one of 16 MB and more is cut."""
    out = []
    for payload in payloads:
        for at in range(0, len(payload) + 1, LONGEST):
            piece = payload[at : at + LONGEST]
            out.append(len(piece).to_bytes(3, "little") + bytes([sequence & 0xFF]) + piece)
            sequence += 1
    return b"".join(out)


def answer(names: Sequence[str], rows: Sequence[bytes], end: bytes = EOF) -> bytes:
    """The whole answer to a query."""
    count = bytes([len(names)]) if len(names) < 0xFB else b"\xfc" + len(names).to_bytes(2, "little")
    return packets([count, *map(described, names), *([EOF] if end != OK_END else []), *rows, end])


def pages(packets: Packets, data: bytes, steps: Sequence[int] = ()) -> Iterator[Page]:
    """Hand `data` over as a socket does, in pieces of `steps` bytes in turn (as much as there is room for: none),
    and take the pages as they fill; the last one when the data is all."""
    at = turn = 0
    while at < len(data):
        room = packets.room()
        size = min(len(room), len(data) - at, steps[turn % len(steps)] if steps else len(room))
        room[:size] = data[at : at + size]
        packets.arrived(size)
        at, turn = at + size, turn + 1
        if packets.is_full:
            yield packets.take()
    if not packets.is_ended:
        yield packets.take()


def page(*rows: bytes) -> Page:
    """Rows as one page."""
    [found] = pages(Packets(), answer(["a"], rows))
    return found


def bits(decoded: Decoded) -> list[object]:
    """All that a decoded page says, so that equal means equal to the last bit."""
    found: list[object] = [list(decoded.bad), decoded.batch.schema]
    for array in decoded.batch.columns:
        array.validate(full=True)
        is_float = pa.types.is_floating(array.type)
        same = array.view(pa.int32() if array.type == pa.float32() else pa.int64()) if is_float else array
        found.append(same.to_pylist() if pa.types.is_string(array.type) else same)
    return found
