"""The top of the command line: every error becomes words and an exit code; nothing leaves as a traceback."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence

import typer
import typer.main

from service import exit_codes
from service.cli import failures
from service.cli.commands import app
from service.console import settle
from service.log_records import Masking
from state.errors import SluicewayError
from state.masking import mask

PROGRAM = "sluiceway"
PACKAGES = ("service", "connectors", "loaders", "state")


def command_line(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. `--debug` and `--json` count wherever they stand."""
    debug, json = "--debug" in arguments, "--json" in arguments
    given = [argument for argument in arguments if argument != "--debug"]
    if debug:
        log_everything()
    try:
        return performed(given, debug=debug, json=json)
    finally:
        settle()


def performed(arguments: Sequence[str], *, debug: bool, json: bool) -> int:
    command = named(arguments)
    try:
        return typer.main.get_command(app).main(list(arguments), prog_name=PROGRAM, standalone_mode=False) or 0
    except typer.TyperException as error:
        trouble, code = failures.of_usage(error, command), exit_codes.CONFIG
    except SluicewayError as error:
        trouble, code = failures.of_error(error, command), exit_codes.of_error(error)
        if debug:
            sys.stderr.write(mask(traceback.format_exc()))
    except Exception as error:  # noqa: BLE001 the one boundary: a defect is told like any other error
        trouble, code = failures.of_defect(error, command), exit_codes.DEFECT
        if debug:
            sys.stderr.write(mask(traceback.format_exc()))
    failures.tell(trouble, json=json)
    return code


def named(arguments: Sequence[str]) -> str:
    """The command of a command line, as a person would call it."""
    words = [PROGRAM]
    known = typer.main.get_command(app)
    for argument in arguments:
        inner = getattr(known, "commands", {}).get(argument)
        if inner is None:
            break
        words.append(argument)
        known = inner
    return " ".join(words)


def log_everything() -> None:
    """What the packages log, on stderr and without secrets; other libraries only warn."""
    handler = logging.StreamHandler()
    handler.addFilter(Masking())
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", handlers=[handler])
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG)
