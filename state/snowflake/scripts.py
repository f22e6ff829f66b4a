"""SQL scripts for those who look after a Snowflake account: part of the package, and printed on demand."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

SCRIPTS: Mapping[str, str] = {
    "drive_table": "drive_table.sql",
    "grants": "grants.sql",
    "failed_last_24_hours": "queries/failed_last_24_hours.sql",
    "audit_of_a_run": "queries/audit_of_a_run.sql",
    "gaps": "queries/gaps.sql",
    "freshness": "queries/freshness.sql",
    "cost_per_pipeline": "queries/cost_per_pipeline.sql",
}
"""What `sluiceway drive sql` prints, by name; each is linked to from deploy/sql."""


def text_of(name: str) -> str:
    """The text of one of `SCRIPTS`."""
    return resources.files("state.snowflake").joinpath("sql", *SCRIPTS[name].split("/")).read_text("utf-8")
