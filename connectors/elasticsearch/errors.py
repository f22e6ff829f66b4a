"""What a failed request means: the table of vendor signals, and how an answer is looked up in it.

An answer is known by its status and by every error type in its body (the outer one is often only "search phase
failed"). Rules are tried in order, the first that fits wins. What no rule knows is transient with the code
`other`, for a few attempts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from state.errors import (
    UNKNOWN_AT_MOST,
    ConfigurationError,
    PermanentError,
    RestartAttempt,
    SluicewayError,
    TransientError,
)

_SHOWN = 300
_LONGEST_WAIT = 86_400.0
"""Seconds; a server, or a proxy before it, may ask for any number."""


class Kind(StrEnum):
    """What to do next; one class of `state.errors` each."""

    TRANSIENT = "transient"
    SHRINK = "shrink"  # transient, and a smaller page may pass
    RESTART = "restart"
    PERMANENT = "permanent"
    CONFIGURATION = "configuration"
    MISSING = "missing"  # configuration; restart where it was there before


@dataclass(frozen=True)
class Rule:
    """Fits an answer with this status and this error type; None fits any."""

    status: int | None
    type: str | None
    kind: Kind
    hint: str


BUSY = "The server has too much to do; the request is made again later, and smaller where that helps."
AWAY = "A node or shard is away; the request is made again later. If it stays so, look at the cluster's health."
LOST = "Nothing to do: the part is read again on a new snapshot."
ABSENT = "Correct source_system.index, or create the index."
QUERY = "Look at source_system.where, cursor and columns; the server does not take the query made from them."
ACCESS = "Give the user of source_system.auth the privileges read and view_index_metadata on the index."
VERSION = "Check that source_system.endpoint is a search server that this version reads (see the docs)."
WRONG_ADDRESS = "Check source_system.endpoint; something else than a search server answers there."
TOO_BIG = "Make source_system.where or the list of indices shorter."

RULES: tuple[Rule, ...] = (
    Rule(None, "circuit_breaking_exception", Kind.SHRINK, BUSY),
    Rule(None, "es_rejected_execution_exception", Kind.SHRINK, BUSY),
    Rule(None, "rejected_execution_exception", Kind.SHRINK, BUSY),
    Rule(429, None, Kind.SHRINK, BUSY),
    Rule(None, "search_context_missing_exception", Kind.RESTART, LOST),
    Rule(None, "task_cancelled_exception", Kind.TRANSIENT, BUSY),
    Rule(None, "no_shard_available_action_exception", Kind.TRANSIENT, AWAY),
    Rule(None, "index_not_found_exception", Kind.MISSING, ABSENT),
    Rule(None, "index_closed_exception", Kind.MISSING, ABSENT),
    Rule(401, None, Kind.CONFIGURATION, ACCESS),
    Rule(403, None, Kind.CONFIGURATION, ACCESS),
    Rule(None, "security_exception", Kind.CONFIGURATION, ACCESS),
    Rule(None, "media_type_header_exception", Kind.CONFIGURATION, VERSION),
    Rule(None, "too_long_http_line_exception", Kind.PERMANENT, TOO_BIG),
    Rule(None, "too_long_frame_exception", Kind.PERMANENT, TOO_BIG),
    Rule(413, None, Kind.PERMANENT, TOO_BIG),
    Rule(414, None, Kind.PERMANENT, TOO_BIG),
    Rule(400, "parsing_exception", Kind.CONFIGURATION, QUERY),
    Rule(400, "x_content_parse_exception", Kind.CONFIGURATION, QUERY),
    Rule(400, "parse_exception", Kind.CONFIGURATION, QUERY),
    Rule(400, "query_shard_exception", Kind.CONFIGURATION, QUERY),
    Rule(400, "illegal_argument_exception", Kind.CONFIGURATION, QUERY),
    Rule(400, None, Kind.PERMANENT, QUERY),
    Rule(404, None, Kind.CONFIGURATION, WRONG_ADDRESS),
    Rule(405, None, Kind.CONFIGURATION, WRONG_ADDRESS),
    Rule(406, None, Kind.CONFIGURATION, VERSION),
    Rule(415, None, Kind.CONFIGURATION, VERSION),
    Rule(407, None, Kind.CONFIGURATION, WRONG_ADDRESS),
    Rule(408, None, Kind.TRANSIENT, AWAY),
    Rule(502, None, Kind.TRANSIENT, AWAY),
    Rule(503, None, Kind.TRANSIENT, AWAY),
    Rule(504, None, Kind.TRANSIENT, AWAY),
)
"""The vendor table; each row is a test."""

UNKNOWN = Rule(None, None, Kind.TRANSIENT, "Tried twice more; if it stays so, look at the server's log.")


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, doing: str, *, underway: bool = False
) -> SluicewayError:
    """The error for an answer with a failure status. `underway`: in a snapshot, where a missing index vanished."""
    causes = list(_causes(body))
    rule = next((rule for rule in RULES if _fits(rule, status, causes)), UNKNOWN)
    told = next((cause for cause in causes if cause.type == rule.type), causes[0] if causes else None)
    said = f": {told.type}: {told.reason}" if told else f": {_plain(body)}" if body.strip() else ""
    asked = retry_after(headers, datetime.now(UTC))
    return _error(rule, f"{doing}: HTTP {status}{said}", _code(rule, status, causes), asked, underway)


def shard_failure(type_: str, reason: str, message: str) -> SluicewayError:
    """The error for a shard that failed in an answer of status 200: transient if that is what its type says."""
    rule = next((rule for rule in RULES if rule.type == type_), None)
    if rule is not None and rule.kind in (Kind.TRANSIENT, Kind.SHRINK):
        return _error(rule, f"{message}: {type_}: {_short(reason)}", type_, None, False)
    hint = "The part is read again on a new snapshot. If it happens again, look at the source's shards."
    return RestartAttempt(f"{message}: {type_}: {_short(reason)}", hint=hint, code="shard_failed")


def is_load(error: TransientError) -> bool:
    """True if the server says, or shows, that it has too much to do: fewer requests at a time are right then."""
    return (error.shrink and error.code != "too_large") or error.code == "timeout" or error.retry_after is not None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait: a number or an HTTP date, at most a day; None if not legibly."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)  # "-0000" is UTC without a place
    return min(max(0.0, (at - now).total_seconds()), _LONGEST_WAIT)


@dataclass(frozen=True)
class _Cause:
    type: str
    reason: str
    durability: str


def _causes(body: bytes) -> Iterator[_Cause]:
    """Every error in the body, the outermost first."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return
    if isinstance(error, str):
        yield _Cause("error", _short(error), "")
    else:
        yield from _below(error)


def _below(error: Any) -> Iterator[_Cause]:
    if isinstance(error, list):
        for one in error:
            yield from _below(one)
    if not isinstance(error, dict):
        return
    if isinstance(error.get("type"), str):
        yield _Cause(error["type"], _short(str(error.get("reason"))), str(error.get("durability", "")))
    for name in ("root_cause", "failed_shards", "caused_by", "reason"):
        yield from _below(error.get(name))


def _fits(rule: Rule, status: int, causes: list[_Cause]) -> bool:
    typed = rule.type is None or any(cause.type == rule.type for cause in causes)
    return typed and rule.status in (None, status)


def _code(rule: Rule, status: int, causes: list[_Cause]) -> str:
    if rule is UNKNOWN:
        return "other"
    if rule.type == "circuit_breaking_exception" and any(cause.durability == "PERMANENT" for cause in causes):
        return PERMANENT_BREAKER
    return rule.type or str(status)


PERMANENT_BREAKER = "circuit_breaker_permanent"
"""Code of a circuit breaker that says itself that waiting does not help; a smaller page may."""


def _error(rule: Rule, message: str, code: str, asked: float | None, underway: bool) -> SluicewayError:
    match rule.kind:
        case Kind.TRANSIENT | Kind.SHRINK:
            shrink = rule.kind is Kind.SHRINK
            bound = UNKNOWN_AT_MOST if rule is UNKNOWN else None
            return TransientError(
                message, hint=rule.hint, code=code, retry_after=asked, shrink=shrink, at_most=bound
            )
        case Kind.RESTART:
            return RestartAttempt(message, hint=rule.hint, code=code)
        case Kind.MISSING if underway:
            return RestartAttempt(message, hint="An index was deleted or closed while it was read.", code=code)
        case Kind.PERMANENT:
            return PermanentError(message, hint=rule.hint, code=code)
        case _:
            return ConfigurationError(message, hint=rule.hint, code=code)


def _plain(body: bytes) -> str:
    return _short(" ".join(body[: 4 * _SHOWN].decode("utf-8", "replace").split()))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
