"""Templates into pages, with the headers that a page has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from aiohttp import web

from service.admin.page import words
from service.views import number

PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none at all, browsers do not tell the origin of a form either
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
KINDS: Mapping[str, str] = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOR_GOOD = "private, max-age=31536000, immutable"
"""An asset's address changes with its content."""


class Asset:
    """A file that pages name."""

    def __init__(self, name: str) -> None:
        self.body = resources.files("service.admin.page").joinpath("assets", name).read_bytes()
        stem, ending = name.rsplit(".", 1)
        self.kind = KINDS[f".{ending}"]
        self.address = f"/assets/{stem}-{hashlib.sha256(self.body).hexdigest()[:12]}.{ending}"

    async def answer(self, _request: web.Request) -> web.Response:
        headers = {**PAGE_HEADERS, "Cache-Control": FOR_GOOD}
        return web.Response(body=self.body, content_type=self.kind, charset="utf-8", headers=headers)


class Renderer:
    """Every value is escaped where it stands; a template that names what it was not given is a defect."""

    def __init__(self, version: str) -> None:
        self.assets = {name: Asset(name) for name in ("page.css", "page.js", "icon.svg")}
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("service.admin.page"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters |= {
            "instant": words.instant,
            "duration": words.duration,
            "number": number,
            "size": words.size,
            "plain": words.plain,
        }
        self._templates.globals |= {
            "style": self.assets["page.css"].address,
            "script": self.assets["page.js"].address,
            "icon": self.assets["icon.svg"].address,
            "counted": words.counted,
            "marks": words.MARKS,
            "unproven_sign": words.UNPROVEN_SIGN,
            "version": version,
        }

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        """The page as text; can be called in a thread."""
        return self._templates.get_template(template).render(values)


def answer(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A page as it is sent."""
    return web.Response(
        text=text, status=status, content_type="text/html", headers={**PAGE_HEADERS, **(headers or {})}
    )
