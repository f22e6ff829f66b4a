"""What the middlewares of the admin port tell the handlers behind them."""

from __future__ import annotations

from aiohttp import web

from service.admin.auth import Holder

HOLDER = web.RequestKey("holder", Holder)
REQUEST_ID = web.RequestKey("request_id", str)
