"""`serve`: the daemon with its listeners and its ports, until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import typer

from service import exit_codes
from service.admin.ports import opened_ports
from service.cli.options import LogForm
from service.cli.pipelines import find_functions_beside
from service.daemon.daemon import Daemon
from service.daemon.fleet import daemon_settings
from service.daemon.pulse import Pulse
from service.daemon.settings import DaemonSettings
from service.events import Event
from service.leaving import leave
from service.logs import Lines, in_background, libraries
from service.memory import settle
from service.metrics import Metrics
from service.notify.courier import Courier, carrying
from service.notify.settings import Notifications
from state.errors import ConfigurationError

LAST_WORDS_SECONDS = 10.0
"""How long notifications may still be sent after the last run has ended."""

SETTLED_SECONDS = 10.0
"""By then a daemon has loaded what it works with."""


def serve(folder: Path, log: LogForm) -> None:
    """Attend to the pipelines of `folder` until told to stop."""
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} is no folder",
            hint="Name the folder of the pipelines' configurations.",
            code="no_configuration",
            path="CONFIG_DIR",
        )
    settings = daemon_settings(folder)
    find_functions_beside(folder / "any")
    as_json = not sys.stderr.isatty() if log is LogForm.AUTO else log is LogForm.JSON
    with asyncio.Runner() as runner:
        with in_background(sys.stderr, json=as_json) as lines, libraries(lines):
            code = runner.run(serving(folder, settings, lines))
        if asyncio.all_tasks(runner.get_loop()):  # a user's function hangs: the loop cannot be closed
            leave(code)
    if code != exit_codes.OK:
        raise typer.Exit(code)


async def serving(folder: Path, settings: DaemonSettings, lines: Lines) -> int:
    """The daemon from start to stop, with its ports and its notifications; returns its exit code."""
    metrics = Metrics()

    def hear(event: Event) -> None:
        for listener in (lines.hear, metrics.hear, courier.hear):
            listener(event)

    def told(pipeline: str) -> Notifications | None:
        one = daemon.pipelines.get(pipeline)
        return None if one is None else one.config.pipeline_metadata.notifications

    courier = Courier(told, port=metrics.port(), count=metrics.notified)
    daemon = Daemon(folder, settings, hear, port=metrics.port(), hear=metrics.statement, found=courier.know)
    metrics.watch_spool(lambda: daemon.quota.used, settings.spool_quota_bytes)
    pulse = Pulse(metrics.observe_lag, settings.loop_stalled_seconds)
    told_to_stop(daemon)
    asyncio.get_running_loop().call_later(SETTLED_SECONDS, settle)
    async with opened_ports(daemon, pulse, metrics.text), carrying(courier, LAST_WORDS_SECONDS) as carried:
        daemon.supervisor.keep("pulse", pulse.keep())
        daemon.supervisor.keep("log", lines.keep())
        daemon.supervisor.watch(carried)
        return await daemon.serve()


def told_to_stop(daemon: Daemon) -> None:
    """The first SIGTERM or SIGINT drains, the second lets go at once, the third ends the process as it stands."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not daemon.stop.is_set():
            daemon.stop.set()
        elif not daemon.at_once.is_set():
            daemon.at_once.set()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
