"""The end of a process, once its work is done and said."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with exit code `code`, without the interpreter's own finish.

    Two things would change the code there, or keep it from coming: threads of Snowflake's connector that log while
    the interpreter goes (SIGABRT now and then, SNOW-3416420), and a thread that hangs in a user's function, which
    would be waited for.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, by us or at the other end
            stream.flush()
    os._exit(code)
