"""A look at a DuckDB file by plain SQL, for those who judge a load without trusting the loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from loaders.duckdb.errors import explained


def look(database: Path, sql: str) -> pa.Table:
    """The answer to a query, the file opened for reading only and closed again.

    Raises `TransientError` while another process holds the file, `ConfigurationError` if it is not there.
    """
    with explained(database), duckdb.connect(database, read_only=True) as connection:
        answer: Any = connection.sql(sql)
        return answer.to_arrow_table()
