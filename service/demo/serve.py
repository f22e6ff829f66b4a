"""The demo's search server once more, until Ctrl-C: `python -m service.demo.serve .demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from service import exit_codes
from service.config import load_config
from service.console import Console
from service.demo.flights import END, read_flights
from service.demo.narration import Narrator
from service.demo.pipeline import config_file
from service.demo.server import search_server
from state.errors import SluicewayError


def main(folder: Path) -> int:
    """Serve the flights of the demo in `folder` at the address that its configuration names."""
    tell = Narrator(Console(), 1)
    try:
        config = load_config(config_file(folder))
        address = urlsplit(str(config.source_system.model_dump()["endpoint"])).netloc
        with search_server(folder / "server.log", address) as server:
            flights = read_flights(config.windows.end or END)
            with tell.meter("flights indexed", flights.num_rows) as meter:
                server.fill(flights, meter.advance)
            tell.good(f"{server.url} answers. Ctrl-C ends it.")
            server.process.wait()
    except KeyboardInterrupt:
        return exit_codes.OK
    except SluicewayError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return exit_codes.of_error(error)
    return exit_codes.FAILED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
