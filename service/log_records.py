"""What libraries log: in words, without secrets, and without the chatter of drivers (X-9)."""

from __future__ import annotations

import logging
import traceback

from state.masking import mask

DRIVERS = (
    "snowflake",
    "sf_core",
    "aiomysql",
    "pymysql",
    "elastic_transport",
    "elasticsearch",
    "aiohttp",
    "botocore",
    "urllib3",
)
"""Libraries that log requests, and what is in them, below INFO."""


def worded(record: logging.LogRecord) -> str:
    """A record's message, with its traceback below; a record whose arguments do not fit tells both."""
    try:
        message = record.getMessage()
    except (TypeError, ValueError):
        message = f"{record.msg} {record.args}"
    if record.exc_info and record.exc_info[0] is not None:
        message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return message


def is_chatter(record: logging.LogRecord) -> bool:
    """True for what drivers say below INFO: requests, and what is in them."""
    return record.levelno < logging.INFO and record.name.partition(".")[0] in DRIVERS


class Masking(logging.Filter):
    """For a handler of anybody's: takes the secrets out of a record, and chatter of drivers out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if is_chatter(record):
            return False
        record.msg, record.args = mask(worded(record)), None
        record.exc_info = record.exc_text = None
        return True
