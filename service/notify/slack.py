"""Notifications for Slack and for what takes the same messages: blocks, and the same as text for those without."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from service.notify.notice import Notice
from service.notify.posting import Receiver, post
from service.notify.settings import Notifications

PATH = "pipeline_metadata.notifications.slack_webhook"
SECTION, HEADING, TEXT = 3000, 150, 12_000
"""Characters that Slack takes in a section and a heading, and that are sent as text."""
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
SIGNS = {"recovered": ":white_check_mark:", "failed": ":warning:", "freshness_missed": ":hourglass:"}


async def send(session: aiohttp.ClientSession, notice: Notice, told: Notifications, seconds: float) -> None:
    """Send to the channel's webhook. Raises as `service.notify.posting.post`."""
    if told.slack_webhook is None:
        return
    to = Receiver("the Slack webhook", PATH, told.slack_webhook)
    body = msgspec.json.encode(message(notice))
    await post(session, to, body, {"Content-Type": "application/json"}, seconds)


def message(notice: Notice) -> dict[str, Any]:
    """The message: a heading, a section for each line, and the kind with its time at the end."""
    heading = cut(f"{SIGNS.get(notice.kind, ':rotating_light:')} {notice.title}", HEADING)
    sections = [section(name, value) for name, value in notice.rows]
    ending = f"{notice.kind} · {notice.at:%Y-%m-%d %H:%M:%S} UTC"
    return {
        "text": cut(escaped(f"{notice.title}\n{notice.text}"), TEXT),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": heading, "emoji": True}},
            *sections,
            {"type": "context", "elements": [{"type": "plain_text", "text": ending}]},
        ],
    }


def section(name: str, value: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(f"*{name}*  {escaped(value)}", SECTION)}}


def escaped(text: str) -> str:
    """`text` without what Slack takes for links, mentions and entities."""
    return text.translate(ENTITIES)


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
