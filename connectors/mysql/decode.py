"""Pages of rows → record batches under declared types, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from connectors.batches import WANTED_BYTES
from connectors.mysql.columns import Column
from connectors.mysql.pages import Page
from connectors.mysql.rows import Decoded, Rows

__all__ = ["Decoded", "Decoder", "Page"]

_ROWS_AT_LEAST = 256


class Decoder:
    """Decodes pages; thread-safe and deterministic. One for each SELECT."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._rows = Rows(columns)
        self.schema = self._rows.schema
        self.page_rows = max(_ROWS_AT_LEAST, WANTED_BYTES // sum(map(_width, self.schema.types)))
        """Rows of a page that make a batch of bounded bytes, even if all of them are NULL."""

    def decode(self, page: Page) -> Decoded:
        """Raises pymysql's OperationalError, number 2027, for rows that are not as the protocol has them."""
        return self._rows.decode(page)


def _width(type_: pa.DataType) -> int:
    """Bytes of a value in a batch, beside those of a text."""
    return 8 if pa.types.is_string(type_) or pa.types.is_binary(type_) else max(1, type_.bit_width // 8)
