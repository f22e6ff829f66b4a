"""The routes of the page, each with one query of runs at most."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from service import live
from service.admin.auth import Role
from service.admin.keys import HOLDER, REQUEST_ID
from service.admin.page import details
from service.admin.page.forms import FORM, FormTokens
from service.admin.page.rendering import Renderer, answer
from service.admin.page.standings import State, row, with_failures
from service.admin.v1 import window
from service.daemon.actions import Actions, By, Refused
from service.daemon.attendant import Attendant
from service.daemon.daemon import Attended, Daemon
from service.instants import instant
from service.report import report
from state.errors import SluicewayError
from state.model import RunStatus, show_instant

BASIC = 'Basic realm="Sluiceway: any user name, a token as password", charset="UTF-8"'
SHOWN_FILES = 100
SHOWN_WINDOWS_OF_A_PLAN = 50
LIMITS: Mapping[str, int] = {"failures": 20, "alike": 20, "gaps": 20, "acts": 12}
"""How many of each are listed."""
ACTS = 50
"""Operators' acts that are looked at."""
OFTEN, SELDOM = 5, 15
"""Seconds until an open page loads its content anew."""
SHADES = ("rows", "seconds")


class Page:
    """The status page of one daemon."""

    def __init__(self, daemon: Daemon, actions: Actions, version: str) -> None:
        self._daemon = daemon
        self._actions = actions
        self._renderer = Renderer(version)
        self.form_tokens = FormTokens()

    def routes(self) -> list[web.RouteDef]:
        """Where what is."""
        pipeline = "/pipelines/{pipeline}"
        assets = [web.get(one.address, one.answer) for one in self._renderer.assets.values()]
        return [
            web.get("/", self.overview),
            web.get(pipeline, self.pipeline),
            web.get(f"{pipeline}/runs/{{run}}", self.run),
            web.get(f"{pipeline}/backfill", self.plan),
            web.get(f"{pipeline}/backfills/{{key}}", self.progress),
            *assets,
        ]

    def wanted(self, request: web.Request) -> bool:
        """Whether a person will read the answer: every address but `/v1`, and `/v1` for a form."""
        return not request.path.startswith("/v1/") or request.content_type == FORM

    async def overview(self, request: web.Request) -> web.Response:
        rows = [row(one) for _, one in sorted(self._daemon.pipelines.items())]
        rows.sort(key=lambda one: list(State).index(one.state))
        state, name = request.query.get("state", ""), request.query.get("name", "").strip()
        shown = [one for one in rows if state in ("", one.state) and name.lower() in one.name.lower()]
        return await self._page(
            request,
            "overview.html",
            None,
            rows=shown,
            total=len(rows),
            states=Counter(one.state.value for one in rows),
            every_state=[one.value for one in State],
            state=state,
            name=name,
            refused=self._daemon.fleet.refused,
            folder=str(self._daemon.fleet.folder),
            draining=self._daemon.stop.is_set(),
        )

    async def pipeline(self, request: web.Request) -> web.Response:
        one = self._attended(request)
        by = request.query.get("shade", SHADES[0])
        values: dict[str, Any] = dict(row=row(one), windows=one.config.windows, map=None, trouble=None)
        values |= dict(failures=[], acts=[], closes=None, by=by if by in SHADES else SHADES[0], shades=SHADES)
        if one.attendant is not None:
            values |= await self._ledger(request, one.attendant, values["by"])
            values["row"] = with_failures(values["row"], [failed.quarantined for failed in values["failures"]])
        return await self._page(request, "pipeline.html", one.attendant, **values, limits=LIMITS)

    async def _ledger(self, request: web.Request, attendant: Attendant, by: str) -> Mapping[str, Any]:
        """What of a pipeline only the drive table knows; what is wrong with that if it cannot be asked."""
        windows = attendant.worker.config.windows
        drive, pipeline = attendant.worker.drive, attendant.pipeline
        until = request.query.get("until")
        span, now = details.span_until(attendant, moment(until) if until else None)
        if span is None:
            lag = timedelta(seconds=windows.safety_lag_seconds)
            return dict(closes=details.first_closing(windows.tiling(), lag))
        try:
            runs = await drive.summaries(pipeline, within=span)
            acts = [act for act in await drive.events(pipeline, ACTS) if act.action != live.ACTION]
        except SluicewayError as error:
            return dict(trouble=error)
        drawn = await asyncio.to_thread(details.heat_map, attendant, runs, span, now, by)
        known = attendant.standing.unfinished if attendant.standing else []
        return dict(map=drawn, failures=details.failures(runs, datetime.now(UTC), known), acts=acts)

    async def run(self, request: web.Request) -> web.Response:
        pipeline, name = request.match_info["pipeline"], request.match_info["run"]
        attendant = self._actions.attendant(pipeline)
        run = await self._actions.run(pipeline, name)
        told = report(run, await attendant.worker.drive.now())
        return await self._page(
            request,
            "run.html",
            attendant,
            pipeline=pipeline,
            run=run,
            report=told,
            told=details.told(told),
            chain=details.chain(told.proof, told.broken_link),
            longest=max((line.seconds or 0.0 for line in told.phases), default=0.0),
            files=told.files[:SHOWN_FILES],
            may_retry=run.status is RunStatus.FAILED and not run.superseded_by,
            earlier=details.phases_to_retry(run),
        )

    async def plan(self, request: web.Request) -> web.Response:
        """The dry run: what a backfill would do, and the button that does it."""
        holder = request[HOLDER]
        if holder.role < Role.OPERATE:
            raise Refused(403, "role", f"the token {holder.name} may look, not act", "Use an operate token.")
        pipeline = request.match_info["pipeline"]
        span = window(moment(request.query.get("from", "")), moment(request.query.get("to", "")))
        by = By(holder.name, request[REQUEST_ID])
        attendant = self._actions.attendant(pipeline)
        planned = await self._actions.backfill(pipeline, span, "", by, dry_run=True)
        return await self._page(
            request,
            "plan.html",
            attendant,
            pipeline=pipeline,
            span=span,
            windows=planned.windows[:SHOWN_WINDOWS_OF_A_PLAN],
            more=len(planned.windows) - SHOWN_WINDOWS_OF_A_PLAN,
            total=len(planned.windows),
            key=f"page-{token_hex(6)}",
            cut=details.is_cut(attendant, planned.windows),
        )

    async def progress(self, request: web.Request) -> web.Response:
        pipeline, key = request.match_info["pipeline"], request.match_info["key"]
        attendant = self._actions.attendant(pipeline)
        found = await self._actions.progress(pipeline, key)
        drawn = await asyncio.to_thread(details.backfill_lines, attendant, found)
        return await self._page(
            request,
            "backfill.html",
            attendant,
            pipeline=pipeline,
            backfill=found,
            total=len(found.runs),
            rows=sum(run.rows or 0 for run in found.runs if run.status is RunStatus.COMPLETED),
            lines=drawn,
            failures=details.failures(found.runs, datetime.now(UTC)),
            limits=LIMITS,
        )

    def problem(
        self, request: web.Request, error: Refused, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """An error as a person sees it."""
        holder = request.get(HOLDER)
        text = self._renderer.text(
            "problem.html",
            dict(
                error=error,
                title=HTTPStatus(error.status).phrase,
                back=_back(request),
                request_id=request[REQUEST_ID],
                holder=holder,
                may_act=False,
                now=datetime.now(UTC),
            ),
        )
        asked = {"WWW-Authenticate": BASIC} if error.status == 401 else {}
        return answer(text, error.status, {**(headers or {}), **asked})

    def _attended(self, request: web.Request) -> Attended:
        name = request.match_info["pipeline"]
        one = self._daemon.pipelines.get(name)
        if one is None:
            hint = "The overview lists those that there are."
            raise Refused(404, "no_pipeline", f"there is no pipeline {name!r} here", hint)
        return one

    async def _page(
        self, request: web.Request, template: str, attendant: Attendant | None, **values: Any
    ) -> web.Response:
        holder = request[HOLDER]
        always = dict(
            holder=holder,
            may_act=holder.role >= Role.OPERATE,
            form_token=self.form_tokens.of(holder),
            **pace(attendant),
            now=datetime.now(UTC),
        )
        render = partial(self._renderer.text, template, always | values)
        return answer(await asyncio.to_thread(render))


def pace(attendant: Attendant | None) -> dict[str, int]:
    """How soon a page that is left open asks again: never, where asking keeps a warehouse awake."""
    if attendant is not None and attendant.worker.config.drive_table.type == "snowflake":
        return {"often": 0, "seldom": 0}
    return {"often": OFTEN, "seldom": SELDOM}


def moment(text: str) -> datetime:
    """What somebody wrote into a field or an address; without a zone it is UTC. Raises `Refused`."""
    try:
        at = datetime.fromisoformat(text.strip())
        return instant(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        hint = f"Write it like {show_instant(datetime.now(UTC).replace(second=0, microsecond=0))}."
        raise Refused(422, "instant", f"{text!r} is no instant", hint) from None


def _back(request: web.Request) -> str:
    """The page that a person came from, if it is one of ours; else the overview."""
    parts = urlsplit(request.headers.get("Referer", ""))
    if parts.netloc != request.host or parts.path.startswith("//"):
        return "/"
    return parts.path + (f"?{parts.query}" if parts.query else "")
