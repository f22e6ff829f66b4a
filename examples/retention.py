"""A function of your own: phase 7, `target_cleaning`, keeps two years of orders.

It is called once per run, after the audit, with the configuration and the run's row of the drive table. It runs in
a thread, so it may block; the database file is closed again, because an open one locks out everybody else.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import duckdb

KEEP = timedelta(days=2 * 365)


def run(config: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Remove orders that were last updated `KEEP` before the end of the run's window."""
    target = config["target_system"]
    oldest = record["query_window_end_timestamp"] - KEEP
    with duckdb.connect(target["database"]) as connection:
        [removed] = connection.execute(f"DELETE FROM {target['table']} WHERE updated_at < ?", [oldest]).fetchone()
    return {"transfer_completed": True, "rows_removed": removed}
