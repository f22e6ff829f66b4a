"""Errors, sorted by what to do next.

    SluicewayError
    ├── TransientError        try the same phase again, after `retry_after` seconds if given
    ├── RestartAttempt        try again with a new attempt: what is half done cannot be continued
    ├── PermanentError        no retry helps: the run is quarantined until an operator decides
    │   ├── ContractError     the source no longer fits the target, or a value does not fit its column
    │   ├── AuditMismatch     a link of the proof does not hold
    │   ├── ReceiptMismatch   the target holds a receipt of this run for other data or another table
    │   └── DuplicateWindow   two runs of one pipeline would overlap
    ├── ConfigurationError    an operator must change a setting, a grant or a credential
    ├── UnknownOutcome        an effect may or may not have happened: settle it before anything else
    └── LeaseLost             another worker owns the run now: stop writing, quietly

Connectors and loaders raise these and never retry; `service/retry.py` is the only place that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from state.masking import mask


class SluicewayError(Exception):
    """Something went wrong that an operator can understand.

    `message` says what failed. `hint` says what to do about it, in one sentence. `code` is a short
    bounded word for metrics and logs (a vendor code such as `429` or `search_context_missing`).

    Secrets are masked here, before a text reaches anything: a vendor may repeat what it was given.
    """

    kind = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "other") -> None:
        self.message = mask(message)
        super().__init__(self.message)
        self.hint = mask(hint)
        self.code = code

    def add(self, what: str) -> None:
        """Say more: `what` follows the message."""
        self.message = f"{self.message}; {mask(what)}"

    def __str__(self) -> str:
        return self.message


UNKNOWN_AT_MOST = 3
"""`TransientError.at_most` of an error that no table knows."""


class TransientError(SluicewayError):
    """The same step may succeed when it is tried again.

    `retry_after`: seconds that the other side asked for, or None. `shrink`: a smaller request may pass. `at_most`:
    after so many attempts of a run in a row that ended by this code it waits for an operator, and the step is not
    tried again in place; None: no bound of its own.
    """

    kind = "transient"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "other",
        retry_after: float | None = None,
        shrink: bool = False,
        at_most: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after = retry_after
        self.shrink = shrink
        self.at_most = at_most


class Unreachable(TransientError):
    """Nobody is let in now: refused, not answered, or locked by somebody else. No window is to blame, so none is
    ever given up for it: each goes on by itself when the other side is there again.
    """

    kind = "unreachable"


class RestartAttempt(SluicewayError):
    """What is half done cannot be continued (a lost snapshot, a cut connection): start a new attempt."""

    kind = "restart"


class PermanentError(SluicewayError):
    """No retry helps; data or logic must change first."""

    kind = "permanent"


class ContractError(PermanentError):
    """The source's columns or a value in them do not fit what was declared."""

    kind = "contract"


class AuditMismatch(PermanentError):
    """A link of the proof does not hold. `link` names it, `expected` and `found` are its two counts.

    `figures` is the proof as far as it was counted, for the drive row.
    """

    kind = "audit_mismatch"

    def __init__(
        self,
        link: str,
        expected: int | None,
        found: int | None,
        *,
        hint: str = "",
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"the proof breaks at '{link}': expected {expected}, found {found}", hint=hint, code=link)
        self.link = link
        self.expected = expected
        self.found = found
        self.figures = figures or {}


class ReceiptMismatch(PermanentError):
    """The target already holds a receipt of this run, for other data or for another table."""

    kind = "receipt_mismatch"


class DuplicateWindow(PermanentError):
    """Two runs of one pipeline would overlap."""

    kind = "duplicate_window"


class ConfigurationError(SluicewayError):
    """An operator must change a setting, a grant or a credential; `path` names the setting if known."""

    kind = "configuration"

    def __init__(self, message: str, *, hint: str = "", code: str = "other", path: str = "") -> None:
        super().__init__(message, hint=hint, code=code)
        self.path = path


class UnknownOutcome(SluicewayError):
    """The answer was lost: the effect may have happened. Settle it before anything else."""

    kind = "unknown_outcome"


class LeaseLost(SluicewayError):
    """Another worker owns this run now, or an operator took it back."""

    kind = "fenced"
