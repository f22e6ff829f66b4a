"""The driver, told to mind its own business: one import place for it, without its side effects.

Imported before the driver is: it reads the environment when it first connects.
"""

from __future__ import annotations

import logging
import os
import warnings

os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
# else every first login asks 169.254.169.254 and two host names which cloud this machine stands in

from snowflake.connector import aio, errors

warnings.filterwarnings("ignore", "`ReauthenticationRequest` currently subclasses", FutureWarning)
# names a class that is not used here: errors are told by their number

for _name in ("snowflake.connector", "sf_core"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # what it tells is raised as well, and told from there

__all__ = ["aio", "errors"]
