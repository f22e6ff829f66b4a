"""Columns that the configuration declares, for formats that declare none themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from connectors.files.fitting import Fitting
from connectors.files.formats import is_excluded
from connectors.files.listing import SourceFile
from connectors.files.settings import FilesSettings
from connectors.files.words import Misfit, Word, converted, word_of
from state.errors import ContractError


class Declared:
    """The columns of `types` that are not excluded, in order: names, words, and the contract's schema."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self.words: dict[str, Word] = {
            name: word_of(text) for name, text in settings.types.items() if not is_excluded(settings, name)
        }
        said = {name: (settings.types[name], word) for name, word in self.words.items()}
        self.fitting = Fitting(said, settings.on_bad_value)
        self.schema = pa.schema([self.fitting.field(name) for name in self.words])

    def require_known(self, names: Iterable[str], place: str) -> None:
        """Raise `ContractError` if one of `names`, found at `place`, is neither declared nor excluded."""
        for name in names:
            if name not in self.words and not is_excluded(self._settings, name):
                raise ContractError(
                    f"{place} has column '{name}', which source_system.types does not name",
                    hint=f"Add '{name}' to source_system.types, or to source_system.exclude to leave it out.",
                    code="unknown_column",
                )


def values(word: Word, column: pa.Array) -> pa.Array:
    """A column as it was read, in the word's type. Raises Misfit for the first value that does not fit."""
    if word.convert is not None:
        return converted(word, column)
    if pa.types.is_floating(column.type):
        row = pc.index(pc.is_finite(column), False).as_py()
        if row >= 0:
            raise Misfit(row, "it is not finite, or is too large for float64")
    return column


def refuse(place: str, column: str, settings: FilesSettings, reason: str) -> NoReturn:
    """Raise the error of a value that does not fit its column."""
    raise ContractError(
        f"{place}: column '{column}' ({settings.types[column]}): {reason}",
        hint=f"Correct the value, or declare '{column}' as string in source_system.types.",
        code="bad_value",
    )


def refuse_text(file: SourceFile, place: str, reason: str) -> NoReturn:
    """Raise the error of text that is not of the file's format."""
    raise ContractError(
        f"{file.path}, {place}: {reason}",
        hint="Write the file again whole; a file that was cut off must not be loaded.",
        code="bad_text",
    )
