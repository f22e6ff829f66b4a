"""`python -m service` and the command `sluiceway`."""

from __future__ import annotations

import sys

from service.cli.main import command_line
from service.leaving import leave
from service.memory import give_back


def main() -> None:
    """Run the command line of this process and end it with the command's exit code."""
    give_back()
    leave(command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
