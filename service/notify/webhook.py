"""Notifications for a receiver of one's own: a JSON body of a declared form, signed as Standard Webhooks says.

https://www.standardwebhooks.com: the signature is over `webhook-id.webhook-timestamp.body`, so that a receiver can
refuse what is old, and the id stays the same when a notification is sent anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from datetime import datetime

import aiohttp
import msgspec

from service.notify.notice import Affected, Notice
from service.notify.posting import Receiver, post
from service.notify.settings import Notifications, Webhook
from service.report import Advice
from state.errors import ConfigurationError
from state.model import Failure
from state.settings import Secret

PATH = "pipeline_metadata.notifications.webhook"
SCHEMA = "sluiceway.notification/1"
PREFIX = "whsec_"


class Body(msgspec.Struct, frozen=True):
    """What is posted. Keys may be added under the same `schema`; none changes its meaning or goes."""

    schema: str
    id: str
    kind: str
    pipeline: str
    at: datetime
    again: bool
    count: int
    runs: tuple[Affected, ...]
    title: str
    text: str
    failure: Failure | None
    advice: Advice


async def send(session: aiohttp.ClientSession, notice: Notice, told: Notifications, seconds: float) -> None:
    """Post to the receiver. Raises as `service.notify.posting.post`."""
    webhook = told.webhook
    if webhook is None:
        return
    body = msgspec.json.encode(body_of(notice))
    headers = {
        **{name: header(name, value) for name, value in webhook.headers.items()},
        "Content-Type": "application/json",
        "webhook-id": notice.id,
        "webhook-timestamp": (stamp := str(int(time.time()))),
        **signed(webhook, f"{notice.id}.{stamp}.".encode() + body),
    }
    to = Receiver("the webhook", f"{PATH}.url", webhook.url, webhook.ca_file)
    await post(session, to, body, headers, seconds)


def body_of(notice: Notice) -> Body:
    """The body, as docs/notifications.md describes it."""
    account = notice.account
    return Body(
        SCHEMA,
        notice.id,
        notice.kind,
        notice.pipeline,
        notice.at,
        notice.again,
        notice.count,
        notice.affected,
        notice.title,
        notice.text,
        account.failure,
        account.advice,
    )


def header(name: str, value: Secret) -> str:
    """The value of a header. Raises `ConfigurationError` if it cannot be one."""
    text = value.read()
    if not text.isprintable() or not text.isascii():
        path = f"{PATH}.headers.{name}"
        raise ConfigurationError(
            f"what {path} refers to cannot be sent as a header",
            hint="Store one line of plain characters there.",
            code="header",
            path=path,
        )
    return text


def signed(webhook: Webhook, content: bytes) -> dict[str, str]:
    """The header with the signature; none without a key."""
    if webhook.signing_key is None:
        return {}
    digest = hmac.new(key(webhook.signing_key), content, hashlib.sha256).digest()
    return {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def key(secret: Secret) -> bytes:
    """The bytes of a signing key. Raises `ConfigurationError`."""
    text = secret.read()
    if not text.startswith(PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        path = f"{PATH}.signing_key"
        raise ConfigurationError(
            f"what {path} refers to begins with {PREFIX} and does not go on in base64",
            hint="Store the key as the receiver shows it.",
            code="signing_key",
            path=path,
        ) from None
