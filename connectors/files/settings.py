"""Settings of files as a source: `source_system` with `type: files`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from connectors.files.words import check_word
from connectors.policies import Policy
from state.settings import Group

Name = Annotated[str, Field(min_length=1)]


class FilesSettings(Group):
    """Parquet, CSV or NDJSON files under a path or pattern."""

    type: Literal["files"]
    """Kind of source. No default: the source is named."""
    path: Name
    """A file, a folder (all files below it with the format's ending) or a glob pattern, `**` for any depth. No
    default. It must match at least one file: a mistyped pattern looks like an empty source."""
    format: Literal["parquet", "csv", "ndjson"] = "parquet"
    """Format of all files. Default parquet: the one that declares its own columns."""
    cursor: Name | None = None
    """Column that windows are cut by, a timestamp or date; an instant without a zone is UTC. Default none,
    which only `target_system.mode: snapshot` can do with: it reads the files whole."""
    key: tuple[Name, ...] = ()
    """Columns that identify a row. Default none: a file has no key of its own."""
    types: Mapping[Name, Annotated[str, AfterValidator(check_word)]] = {}
    """Column to type word (string, int64, timestamp, …); needed by csv and ndjson, which declare none. Default
    none: Parquet declares its own, and takes no other."""
    exclude: tuple[Name, ...] = ()
    """Column patterns that are not read. Default none: what is left out is lost for good, so a column that `types`
    does not name is an error."""
    null_cursor: Literal["error", "ignore"] = "error"
    """What to do with rows whose cursor is NULL: they belong to no window. `ignore` leaves them out, and each part
    reports how many there are. Default error: nothing is left out unasked."""
    null_values: tuple[str, ...] = ("",)
    """Unquoted texts that mean NULL in a csv, in every column. Default only the empty one: a name may be `NULL`. A
    quoted text is never NULL, so `""` is an empty string."""
    on_bad_value: Mapping[Name, Policy] = {}
    """Column of `types` to what becomes of a value that it cannot hold: `error` fails the run, `null` makes it
    NULL, `text` makes the column text, `quarantine` sets the row aside; all but errors are counted. Default error
    for all: nothing is dropped unasked. The cursor has none: a row without it belongs to no window."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1, pattern=r"^[\t !#-~]$")] = ","
    """The one character between two values of a csv. Default comma."""
    final_newline: Literal["required", "optional"] = "required"
    """Whether a csv or ndjson file must end with a line break. Default required: without it, a file that was cut
    off cannot be told from a whole one."""

    @model_validator(mode="after")
    def _declared_once(self) -> FilesSettings:
        if self.format == "parquet" and self.types:
            raise ValueError("Parquet files declare their own types; remove `types`, or set `format`")
        if self.format != "parquet" and not self.types:
            raise ValueError(f"{self.format} files declare no types; give `types`, column to type word")
        return self

    @model_validator(mode="after")
    def _policies_fit(self) -> FilesSettings:
        if self.format == "parquet" and self.on_bad_value:
            raise ValueError("values of Parquet files always fit: they declare their own types; no on_bad_value")
        for column, policy in self.on_bad_value.items():
            if column not in self.types:
                raise ValueError(f"on_bad_value names {column}, which `types` does not")
            if policy != "error" and (column == self.cursor or (column in self.key and policy != "quarantine")):
                raise ValueError(f"on_bad_value of {column} cannot be {policy}: windows and rows are told by it")
        return self

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Column to what becomes of a value that it cannot hold; the others: error."""
        return self.on_bad_value
