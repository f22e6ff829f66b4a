"""Reading of a cron line: five fields, as `crontab(5)` has them."""

from __future__ import annotations

import re

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("", *_MONTHS)),
    ("day of week", 0, 7, tuple(_DAYS)),
)
_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


def check_cron(text: str) -> str:
    """`text` if it is a cron line of five fields. Raises ValueError that names the field."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"a cron line has five fields (minute hour day month weekday), this has {len(fields)}")
    for field, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        for item in field.split(","):
            if not _item(item, low, high, names):
                raise ValueError(f"{item!r} is no {name} of a cron line ({low} to {high}, *, */n, a-b, lists)")
    return text


def _item(item: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _ITEM.fullmatch(item)
    if not match:
        return False
    ends = [_number(part, names) for part in (match["first"], match["last"]) if part is not None]
    step = match["step"]
    inside = all(low <= end <= high for end in ends) and ends == sorted(ends)
    return inside and (step is None or 1 <= int(step) <= high) and not (step and len(ends) == 1)


def _number(part: str, names: tuple[str, ...]) -> int:
    """The value of a number or a name; -1 for neither."""
    if part.isascii() and part.isdigit() and len(part) <= 2:
        return int(part)
    return names.index(part.lower()) if part and part.lower() in names else -1


def days(field: str) -> list[str]:
    """The days that the fifth field of a checked cron line names, as `sun` to `sat`, in this order."""
    return [_DAYS[day] for day in sorted({day % 7 for day in _numbers(field, _FIELDS[4])})]


def numbers(text: str) -> list[list[int]]:
    """What the first four fields of a checked cron line name, each as numbers in order."""
    return [sorted(_numbers(field, limits)) for field, limits in zip(text.split()[:4], _FIELDS, strict=False)]


def _numbers(field: str, limits: tuple[str, int, int, tuple[str, ...]]) -> set[int]:
    name, low, high, names = limits
    found: set[int] = set()
    for item in field.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is no {name} of a cron line")
        first = _number(match["first"], names) if match["first"] else low
        last = _number(match["last"], names) if match["last"] else (first if match["first"] else high)
        found.update(range(first, last + 1, int(match["step"] or 1)))
    return found
