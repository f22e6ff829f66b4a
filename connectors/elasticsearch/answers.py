"""Is an answer the whole answer? Servers say 200 with a part of it; here that is an error."""

from __future__ import annotations

from connectors.elasticsearch.decode_envelope import Envelope, Shards
from connectors.elasticsearch.errors import shard_failure
from state.errors import RestartAttempt, SluicewayError, TransientError

_HINT = "The part is read again on a new snapshot. If it happens again, look at the source's shards."


def require_whole(envelope: Envelope, doing: str, shards: int | None = None) -> None:
    """Raise unless every shard answered, in full and in time. `shards`: how many there must be, if known.

    `RestartAttempt` for a part of an answer; `TransientError` where a shard was only too busy.
    """
    if envelope.timed_out is not False:
        raise _partial(doing, "the server ran out of time and sent what it had", "timed_out")
    if error := _shards(envelope.shards, doing):
        raise error
    if shards is not None and envelope.shards.total != shards:
        found = f"{envelope.shards.total} shards answered, {shards} when the snapshot was opened"
        raise _partial(doing, found, "shards_changed")
    clusters = envelope.clusters
    if clusters is not None and (clusters.skipped or clusters.partial or clusters.failed or clusters.running):
        raise _partial(doing, f"of {clusters.total} clusters only {clusters.successful} answered", "clusters")


def require_whole_now(envelope: Envelope, doing: str) -> None:
    """The same outside a snapshot: nothing is lost with it, so a part of an answer is a `TransientError`."""
    try:
        require_whole(envelope, doing)
    except RestartAttempt as error:
        raise TransientError(error.message, hint="Asked again.", code=error.code) from None


def require_not_cut(envelope: Envelope, doing: str) -> None:
    """Raise `RestartAttempt` if the server stopped before the end of a page.

    Not asked of counts: servers set the flag where they took a count from the index instead of collecting it.
    """
    if envelope.terminated_early:
        raise _partial(doing, "the server stopped early", "terminated_early")


def total(envelope: Envelope, doing: str) -> int:
    """The count of an answer. Raises `RestartAttempt` if it is a lower bound or missing."""
    if envelope.total is None or envelope.total.relation != "eq":
        raise _partial(doing, "the server gave no exact count", "no_count")
    return envelope.total.value


def _shards(shards: Shards, doing: str) -> SluicewayError | None:
    if shards.total < 1:
        return _partial(doing, "the answer does not say which shards it is from", "no_shards")
    if shards.failed or shards.failures:
        found = f"{doing}: {shards.failed} of {shards.total} shards failed"
        first = shards.failures[0] if shards.failures else None
        if first is None or first.reason is None:
            return RestartAttempt(found, hint=_HINT, code="shard_failed")
        return shard_failure(first.reason.type, first.reason.reason or "", f"{found}, one of {first.index}")
    if shards.total not in (shards.successful, shards.successful + shards.skipped):
        return _partial(doing, f"{shards.successful} of {shards.total} shards answered", "shards_missing")
    return None


def _partial(doing: str, found: str, code: str) -> RestartAttempt:
    return RestartAttempt(f"{doing}: {found}", hint=_HINT, code=code)
