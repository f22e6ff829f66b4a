"""Forms of the page as requests of `/v1`: who may send them, what is in them, where they lead.

A browser sends the password that it remembers with every request to this address, whoever's page makes it. So what
changes something must come from a page of ours: the browser says so itself, and a token in the form shows it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from service.admin.auth import Holder
from service.admin.keys import HOLDER
from service.admin.operations import Call
from service.daemon.actions import Refused

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
TOKEN_FIELD, METHOD_FIELD, KEY_FIELD = "form_token", "method", "idempotency_key"
OURS = ("same-origin", "none")
"""`Sec-Fetch-Site` of a request that no other site made."""


class FormTokens:
    """A token for each holder, valid until the process ends; nothing of it can be told from the holder's own."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, holder: Holder) -> str:
        return hmac.new(self._secret, f"{holder.role}:{holder.name}".encode(), hashlib.sha256).hexdigest()

    def require(self, holder: Holder, given: str) -> None:
        """Raises `Refused` unless `given` is the token of `holder`."""
        if not hmac.compare_digest(self.of(holder).encode(), given.encode()):
            hint = "Go back, load the page again and send the form from there."
            raise Refused(403, "form_token", "the form is not from this page, or from before a restart", hint)


async def form_of(request: web.Request, tokens: FormTokens) -> dict[str, str] | None:
    """The fields of a form but for its token; None for a request that is none. Raises `Refused` for what a site of
    somebody else may have sent."""
    _require_our_site(request)
    if request.content_type != FORM:
        by_browser = request.headers.get("Authorization", "").lower().startswith("basic")
        if by_browser and request.content_type != JSON:
            hint = "Send application/json, or the token as Authorization: Bearer TOKEN."
            raise Refused(403, "form", "with Basic authentication only JSON and forms of the page are taken", hint)
        return None
    fields = await fields_of(request)
    tokens.require(request[HOLDER], fields.pop(TOKEN_FIELD, ""))
    return fields


async def fields_of(request: web.Request) -> dict[str, str]:
    """The fields of a form. Raises `Refused` for one that cannot be read."""
    try:
        found = await request.post()
    except (LookupError, UnicodeDecodeError):  # a charset that nobody knows, or another than it says
        raise Refused(400, "body", "the form is no text in the charset that it names", "Send UTF-8.") from None
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _require_our_site(request: web.Request) -> None:
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    ours = site in OURS if site is not None else origin is None or urlsplit(origin).netloc == request.host
    if not ours:
        hint = "Use the page at the address of the daemon itself."
        raise Refused(403, "other_site", "the request comes from the page of another site", hint)


def filled(fields: Mapping[str, str]) -> dict[str, str]:
    """Fields that say something: what is left empty is left out."""
    return {name: value for name, value in fields.items() if value}


def _to_pipeline(call: Call, _answer: Any) -> str:
    return f"/pipelines/{call.path['pipeline']}"


LEADS_TO: Mapping[str, Callable[[Call, Any], str]] = {
    "pause": _to_pipeline,
    "resume": _to_pipeline,
    "retry": lambda call, run: f"/pipelines/{call.path['pipeline']}/runs/{run.name}",
    "backfill": lambda call, made: f"/pipelines/{call.path['pipeline']}/backfills/{made.key}",
    "cancel": lambda call, made: f"/pipelines/{call.path['pipeline']}/backfills/{made.key}",
    "reload": lambda _call, _answer: "/",
}
"""By name of the operation: the page that shows what came of it."""
