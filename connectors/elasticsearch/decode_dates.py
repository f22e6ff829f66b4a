"""Dates as documents write them, read exactly: text and declared formats → nanoseconds since 1970 in UTC.

Formats are tried in order, as the index does. A date without a zone is UTC. A fraction may have nine
digits; none is dropped here, the column decides whether it can hold them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import cache

Parser = Callable[[str], int | None]
"""Nanoseconds since 1970 UTC, or None if the text is not of this form."""

_YEAR_ALONE = frozenset(
    f"{strict}{name}"
    for strict in ("", "strict_")
    for name in ("date_optional_time", "date_optional_time_nanos", "year", "year_month")
) | {"iso8601"}
_WHOLE_DATE = frozenset(
    f"{strict}{name}"
    for strict in ("", "strict_")
    for name in (
        *("date", "date_hour", "date_hour_minute", "date_hour_minute_second", "year_month_day"),
        *("date_hour_minute_second_millis", "date_hour_minute_second_fraction"),
        *("date_time", "date_time_no_millis"),
    )
) | {
    f"{year}-MM-dd{time}"
    for year in ("yyyy", "uuuu")
    for time in (
        *(
            "",
            " HH:mm",
            " HH:mm:ss",
            " HH:mm:ss.SSS",
            " HH:mm:ss.SSSSSS",
            "'T'HH:mm",
            "'T'HH:mm:ss",
            "'T'HH:mm:ss.SSS",
        ),
        *(f"'T'HH:mm:ss{part}{zone}" for part in ("", ".SSS") for zone in ("X", "XXX", "Z", "'Z'")),
    )
}
ISO_FORMATS = _YEAR_ALONE | _WHOLE_DATE
"""Formats whose texts mean the same to every reader of ISO 8601: year first, every field at full width."""

EPOCH_UNITS = {"epoch_millis": 10**6, "epoch_second": 10**9}
"""Nanoseconds in one unit of the formats that are numbers."""

_BASIC = {
    "basic_date": "uuuuMMdd",
    "basic_date_time": "uuuuMMdd'T'HHmmss.SSSX",
    "basic_date_time_no_millis": "uuuuMMdd'T'HHmmssX",
}
_ISO = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2})(?:[T ](?:(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})"
    r"(?::(?P<second>\d{1,2})(?:[.,](?P<fraction>\d{1,9}))?)?)?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?)?)?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"-?\d{1,19}(?:\.\d{1,9})?", re.ASCII)

_MONTHS = ["january", "february", "march", "april", "may", "june"]
_MONTHS += ["july", "august", "september", "october", "november", "december"]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_ZONE = r"(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)"
_TOKENS = {
    "y": {0: r"(?P<year>\d{4})", 2: r"(?P<short>\d\d)"},
    "u": {0: r"(?P<year>\d{4})", 2: r"(?P<short>\d\d)"},
    "M": {
        0: r"(?P<month>\d{1,2})",
        2: r"(?P<month>\d\d)",
        3: f"(?P<name>{'|'.join(m[:3] for m in _MONTHS)})",
        4: f"(?P<name>{'|'.join(_MONTHS)})",
    },
    "d": {0: r"(?P<day>\d{1,2})", 2: r"(?P<day>\d\d)"},
    "H": {0: r"(?P<hour>\d{1,2})", 2: r"(?P<hour>\d\d)"},
    "h": {0: r"(?P<clock>\d{1,2})", 2: r"(?P<clock>\d\d)"},
    "m": {0: r"(?P<minute>\d{1,2})", 2: r"(?P<minute>\d\d)"},
    "s": {0: r"(?P<second>\d{1,2})", 2: r"(?P<second>\d\d)"},
    "a": {0: r"(?P<half>am|pm)"},
    "E": {0: f"(?:{'|'.join(d[:3] for d in _DAYS)})", 4: f"(?:{'|'.join(_DAYS)})"},
    **{letter: {0: _ZONE} for letter in "XxZz"},
}


def date_parser(formats: Sequence[str]) -> Parser:
    """A reader that tries `formats` in order. Raises ValueError naming a format that is not known."""
    parsers = tuple(dict.fromkeys(_parser(name) for name in formats))

    def parse(text: str) -> int | None:
        return next((found for parser in parsers if (found := parser(text)) is not None), None)

    return parse


def all_iso(formats: Sequence[str]) -> bool:
    """True if a text under these formats is ISO 8601 or a plain number."""
    return all(name in ISO_FORMATS or name in EPOCH_UNITS for name in formats)


def number_unit(formats: Sequence[str]) -> int | None:
    """Nanoseconds in 1 where an integer of five digits or more can only be an epoch number; None otherwise."""
    for name in formats:
        if name in EPOCH_UNITS:
            return EPOCH_UNITS[name]
        if name not in ISO_FORMATS:
            return None
    return None


@cache
def _parser(name: str) -> Parser:
    """The reader of one format; equal readers are one object, so that they are tried once."""
    if name in _YEAR_ALONE:
        return _parse_iso
    if name in _WHOLE_DATE:
        return _parse_iso_day
    if name in EPOCH_UNITS:
        unit = EPOCH_UNITS[name]
        return lambda text: _parse_epoch(text, unit)
    pattern = _compile(_BASIC.get(name, name), name)
    return lambda text: _matched(pattern.fullmatch(text))


def _parse_iso(text: str) -> int | None:
    """`2013`, `2013-01-31`, `2013-01-31T10:20:30.123456789+02:00` and what lies between; a space may be the T."""
    return _matched(_ISO.fullmatch(text))


def _parse_iso_day(text: str) -> int | None:
    """The same from `2013-01-31` on: four digits alone may be milliseconds, of a format further on."""
    match = _ISO.fullmatch(text)
    return _matched(match) if match and match["day"] else None


def _parse_epoch(text: str, unit: int) -> int | None:
    if not _EPOCH.fullmatch(text):
        return None
    nanos = Decimal(text).scaleb(len(str(unit)) - 1)
    return int(nanos) if nanos == int(nanos) else None


def _matched(match: re.Match[str] | None) -> int | None:
    """A calendar date out of named groups; None for one that does not exist, such as February 30."""
    if match is None:
        return None
    got = match.groupdict()
    try:
        days = date(_year(got), _month(got), int(got.get("day") or 1)).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    hour, minute, second = _hour(got), int(got.get("minute") or 0), int(got.get("second") or 0)
    offset = _offset(got.get("zone"))
    if hour > 23 or minute > 59 or second > 59 or offset is None:
        return None
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset
    return seconds * 10**9 + int((got.get("fraction") or "").ljust(9, "0"))


def _year(got: dict[str, str | None]) -> int:
    if short := got.get("short"):
        return 2000 + int(short)
    return int(got.get("year") or 1970)


def _month(got: dict[str, str | None]) -> int:
    if name := got.get("name"):
        return [m[:3] for m in _MONTHS].index(name[:3].lower()) + 1
    return int(got.get("month") or 1)


def _hour(got: dict[str, str | None]) -> int:
    """Hour of the day; 12 AM is midnight. An impossible clock hour gives 24, which no day has."""
    if clock := got.get("clock"):
        if not 1 <= int(clock) <= 12:
            return 24
        return int(clock) % 12 + 12 * (str(got.get("half")).lower() == "pm")
    return int(got.get("hour") or 0)


def _offset(zone: str | None) -> int | None:
    """Seconds east of UTC, at most 18 hours; None if impossible."""
    if zone is None or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3_600 + int(digits[2:]) * 60
    if int(digits[2:]) > 59 or seconds > 18 * 3_600:
        return None
    return -seconds if zone[0] == "-" else seconds


def _compile(pattern: str, name: str) -> re.Pattern[str]:
    """A date pattern of letters (`dd/MM/yyyy HH:mm:ss`) as a regular expression; ValueError if not known."""
    out, groups, i = [], set[str](), 0
    pattern = pattern[1:] if re.match(r"8[yu]", pattern) else pattern
    while i < len(pattern):
        end = _token_end(pattern, i)
        part = _piece(pattern[i:end], name)
        if (group := re.match(r"\(\?P<(\w+)>", part)) and group[1] in groups:
            raise ValueError(f"the date format '{name}' names the {group[1]} twice")
        groups.update([group[1]] if group else [])
        out.append(part)
        i = end
    if out.count("(?:") != out.count(")?") or ("clock" in groups) != ("half" in groups):
        raise ValueError(f"the date format '{name}' is not known")
    if not groups & {"year", "short"} or not groups & {"month", "name"}:
        raise ValueError(f"the date format '{name}' has no year or no month")
    return re.compile("".join(out), re.ASCII | re.IGNORECASE)


def _token_end(pattern: str, i: int) -> int:
    """End of the quoted text, run of one letter, or single sign that starts at `i`."""
    if pattern[i] == "'":
        close = pattern.find("'", i + 1)
        return close + 1 if close > 0 else len(pattern)
    if not pattern[i].isalpha():
        return i + 1
    end = i
    while end < len(pattern) and pattern[end] == pattern[i]:
        end += 1
    return end


def _piece(token: str, name: str) -> str:
    """The regular expression for one token of a date pattern."""
    if token[0] == "'":
        return re.escape(token[1:-1] or "'")
    if token in "[]":
        return {"[": "(?:", "]": ")?"}[token]
    if not token[0].isalpha():
        return re.escape(token)
    if token[0] == "S":
        return rf"(?P<fraction>\d{{{len(token)}}})"
    forms = _TOKENS.get(token[0])
    if forms is None or len(token) > 9:
        raise ValueError(f"the date format '{name}' is not known")
    return forms.get(len(token), forms[0])
