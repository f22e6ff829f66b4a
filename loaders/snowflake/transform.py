"""SQL of the user's own, `target_system.transform`: one SELECT, and nothing beside it (X-6)."""

from __future__ import annotations

import re

from state.errors import ConfigurationError
from state.snowflake.names import Name

STAGE = "{stage}"
"""What the SELECT names the stage table by."""

PIECES = re.compile(
    r"""(?P<text>'(?:[^'\\]|''|\\.)*')|(?P<name>"(?:[^"]|"")*")|(?P<comment>--|//|/\*)|(?P<end>;)"""
    r"""|(?P<dollar>\$\$)|(?P<open>\()|(?P<close>\))|(?P<rest>['"])""",
    re.DOTALL,
)


def relation(transform: str | None, table: Name) -> str:
    """The rows of a stage table in a FROM, through `transform` where there is one."""
    return table.sql if transform is None else f"({transform.replace(STAGE, table.sql)})"


def require_select(transform: str | None) -> None:
    """Raises `ConfigurationError` unless it is one SELECT over the stage table, whole and without comments."""
    if transform is None:
        return
    problem = problem_of(transform)
    if problem is not None:
        raise ConfigurationError(
            f"target_system.transform {problem}",
            hint=f"Give one SELECT ... FROM {STAGE}, without comments and without a semicolon.",
            code="transform",
            path="target_system.transform",
        )


def problem_of(transform: str) -> str | None:
    """What is wrong with it; None if nothing is."""
    if re.match(r"\s*(SELECT|WITH)\b", transform, re.IGNORECASE) is None:
        return "does not begin with SELECT or WITH"
    if STAGE not in PIECES.sub(lambda found: "" if found.lastgroup in ("text", "name") else found[0], transform):
        return f"does not read from {STAGE}"
    depth = 0
    for found in PIECES.finditer(transform):
        kind = found.lastgroup
        if kind in WRONG:
            return WRONG[kind]
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            break
    return None if depth == 0 else "has brackets that do not close"


WRONG = {
    "comment": "holds a comment",
    "end": "holds more than one statement",
    "dollar": "holds a text in dollar signs",
    "rest": "holds a quote that does not close",
}
