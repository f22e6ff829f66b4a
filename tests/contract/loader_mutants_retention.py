"""Loaders that are broken about retention: what leaves the target, and how much."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pyarrow as pa

from loaders.base import Mode
from loaders.memory import MemoryLoader
from loaders.retention import Limits, Retired
from state.contract import RUN
from state.errors import ConfigurationError, TransientError, UnknownOutcome

EVERYTHING = Limits(10**9, 100.0)


class TakesTheInstantItself(MemoryLoader):
    def _older(self, table, column, before):
        return super()._older(table, column, before + timedelta(microseconds=1))


class TakesTheAgeless(MemoryLoader):
    def _older(self, table, column, before):
        old = super()._older(table, column, before)
        return lambda row: row[column] is None or old(row)


class TakesOnlyItsOwn(MemoryLoader):
    def _older(self, table, column, before):
        old = super()._older(table, column, before)
        return lambda row: row.get(RUN) is not None and old(row)


class KeepsAllInAppendMode(MemoryLoader):
    async def retire(self, attempt, column, before, limits):
        found = await super().retire(attempt, column, before, None)
        if self._needs.mode is Mode.APPEND:
            return found
        return await super().retire(attempt, column, before, limits)


class DeletesInADryRun(MemoryLoader):
    async def retire(self, attempt, column, before, limits):
        if limits is not None:
            return await super().retire(attempt, column, before, limits)
        found = await super().retire(attempt, column, before, None)
        self.target.tables[self._table].rows.clear()
        return found


class HasNoLimitOfRows(MemoryLoader):
    async def retire(self, attempt, column, before, limits):
        free = limits and msgspec.structs.replace(limits, max_rows=10**9)
        return await super().retire(attempt, column, before, free)


class HasNoLimitOfPercent(MemoryLoader):
    async def retire(self, attempt, column, before, limits):
        free = limits and msgspec.structs.replace(limits, max_percent=100.0)
        return await super().retire(attempt, column, before, free)


class TakesAll(MemoryLoader):
    async def retire(self, attempt, column, before, limits):
        found = await super().retire(attempt, column, before, None)
        if limits is None or not found.matching or found.matching < found.total:
            return await super().retire(attempt, column, before, limits)
        self.target.tables[self._table].rows.clear()
        return Retired(found.matching, found.total, found.matching)


class RemovesBehindTheFence(MemoryLoader):
    async def retire(self, attempt, column, before, limits):
        claims, self.target.claims = self.target.claims, []
        try:
            return await super().retire(attempt, column, before, limits)
        finally:
            self.target.claims = claims


class RemovesWithoutATransaction(MemoryLoader):
    def _roll_back(self, call, before):
        if call != "retire":
            super()._roll_back(call, before)


class RemovalsWhoseAnswerIsLostAreFailures(MemoryLoader):
    def _commit(self, call):
        try:
            super()._commit(call)
        except UnknownOutcome as error:
            if call != "retire":
                raise
            raise TransientError(str(error)) from error


class AnyColumnWillDo(MemoryLoader):
    def _older(self, table, column, before):
        try:
            return super()._older(table, column, before)
        except ConfigurationError:
            return lambda _row: False


class ADayIsOverWhenItBegins(MemoryLoader):
    def _older(self, table, column, before):
        if column in table.columns and pa.types.is_date(table.columns[column].type):
            before += timedelta(days=1)
        return super()._older(table, column, before)


RETENTION = {
    "takes the instant itself": TakesTheInstantItself,
    "takes the ageless": TakesTheAgeless,
    "takes only its own": TakesOnlyItsOwn,
    "keeps all in append mode": KeepsAllInAppendMode,
    "deletes in a dry run": DeletesInADryRun,
    "has no limit of rows": HasNoLimitOfRows,
    "has no limit of percent": HasNoLimitOfPercent,
    "takes all": TakesAll,
    "removes behind the fence": RemovesBehindTheFence,
    "removes without a transaction": RemovesWithoutATransaction,
    "removals whose answer is lost are failures": RemovalsWhoseAnswerIsLostAreFailures,
    "any column will do": AnyColumnWillDo,
    "a day is over when it begins": ADayIsOverWhenItBegins,
}
