"""How many rows of a target may go at once: what a clean-up found, and when it is refused."""

from __future__ import annotations

import msgspec

from state.errors import ConfigurationError, PermanentError, SluicewayError

SETTING = "phases.target_cleaning"
"""The path of the settings, for errors."""


class Retired(msgspec.Struct, frozen=True):
    """Rows that a clean-up of the target `matching`, of `total`; `deleted` is 0 where it only looked."""

    matching: int
    total: int
    deleted: int = 0


class Limits(msgspec.Struct, frozen=True):
    """Rows that may go at once at most, and percent of the table's rows. Never all of them."""

    max_rows: int
    max_percent: float

    def refusal(self, found: Retired) -> SluicewayError | None:
        """Why these rows may not go; None if they may."""
        figures = f"{found.matching:,} of {found.total:,} rows of the target"
        if found.matching and found.matching == found.total:
            return PermanentError(
                f"{figures} are older than {SETTING}.retention: a clean-up never takes all",
                hint=f"Look at {SETTING}.column and retention; nothing was removed.",
                code="all_rows",
            )
        for name, given, most in (
            ("max_rows", self.max_rows, self.max_rows),
            ("max_percent", self.max_percent, self.max_percent * found.total / 100),
        ):
            if found.matching > most:
                return ConfigurationError(
                    f"{figures} are older than {SETTING}.retention, more than {name} ({given:,}) lets go at once",
                    hint=f"If so many are meant to go, raise {SETTING}.{name} for one run; nothing was removed.",
                    code=f"over_{name}",
                    path=f"{SETTING}.{name}",
                )
        return None

    def require(self, found: Retired) -> None:
        """Raises the refusal, if there is one."""
        refusal = self.refusal(found)
        if refusal is not None:
            raise refusal


def unusable_column(table: object, column: str, why: str) -> ConfigurationError:
    """A column that says nothing about a row's age; `why` follows its name in the message."""
    return ConfigurationError(
        f"the column {column} of {table} {why}",
        hint=f"Name a timestamp or date of the target in {SETTING}.column.",
        code="retention_column",
        path=f"{SETTING}.column",
    )
