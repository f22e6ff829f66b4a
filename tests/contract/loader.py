"""The contract of loaders (`loaders/base.py`), clause by clause; each takes a maker of places."""

from __future__ import annotations

from tests.contract import (
    loader_aside,
    loader_fence,
    loader_retention,
    loader_rows,
    loader_schema,
    loader_stage,
    loader_swap,
)

IN_ANY_MODE = {
    **loader_schema.CLAUSES,
    **loader_stage.CLAUSES,
    **loader_fence.CLAUSES,
    **loader_rows.CLAUSES,
    **loader_aside.CLAUSES,
    **loader_retention.CLAUSES,
}
CLAUSES = IN_ANY_MODE | loader_swap.CLAUSES
