"""The fast way and the exact way give the same values, for any document under any type: E-17, F-11, F-12."""

from __future__ import annotations

import json
import os

import msgspec
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.elasticsearch.decode import Decoder
from connectors.elasticsearch.decode_columns import ColumnReader, Refused
from connectors.elasticsearch.decode_values import Cell, RowReader
from connectors.elasticsearch.fields import FieldSpec, arrow_type

EXAMPLES = int(os.environ.get("SLUICEWAY_EXAMPLES", "400"))
TYPES = [
    ("keyword", {}),
    ("byte", {}),
    ("integer", {}),
    ("long", {}),
    ("unsigned_long", {}),
    ("double", {}),
    ("boolean", {}),
    ("date", {}),
    ("date", {"format": "epoch_second||yyyy-MM-dd HH:mm:ss"}),
    ("date", {"format": "yyyy-MM-dd||epoch_millis"}),
    ("date", {"format": "dd/MM/yyyy HH:mm||basic_date"}),
    ("date_nanos", {}),
    ("object", {}),
]
PATHS = [("a",), ("a", "b"), ("a", "c"), ("a", "b", "c"), ("d", "e")]

two = st.integers(0, 61).map(lambda n: f"{n:02}")
clock = st.builds("{}:{}:{}".format, two, two, two)
days = st.builds("{:04}-{}-{}".format, st.sampled_from([0, 1, 1677, 1969, 2013, 2262, 9999, 12345]), two, two)
zones = st.sampled_from(["", "Z", "z", "+02:00", "-0930", "+01", "+19:00", " Z", "+02:60"])
fractions = st.from_regex(r"(\.[0-9]{1,10})?", fullmatch=True)
moments = st.builds("{}{}{}{}{}".format, days, st.sampled_from(["T", " ", "t"]), clock, fractions, zones)
dates = st.one_of(
    moments,
    days,
    st.sampled_from(
        ["2013", "2013-02", "20130203", "01/02/2013 03:04", "1700000000000", "1700000000.5", "-5", ""]
    ),
)
numbers = st.one_of(
    st.integers(-(2**66), 2**66).map(str),
    st.integers(-300, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
texts = st.one_of(
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        ['"\\ud83d"', '"\\ud83d\\ude00"', '"a\\/b"', '"\\ude00x"', '"true"', '"NaN"', '" 1"', '"+1"', '"1."']
    ),
    numbers.map(lambda number: f'"{number}"'),
    dates.map(json.dumps),
)
scalars = st.one_of(numbers, texts, texts, st.sampled_from(["null", "true", "false"]))
names = st.sampled_from(
    ['"a"', '"b"', '"c"', '"d"', '"e"', '"a.b"', '"b.c"', '"a.b.c"', '"\\u0061"', '"d.e"', '"x"']
)
space = st.sampled_from(["", "", " ", "\n"])


def _key(member):
    """Servers refuse documents that repeat a key; JSON columns rely on it."""
    return json.loads(member.split(":")[0])


def objects(values):
    """Objects without repeated keys, in any order and spacing."""
    member = st.builds("{}{}:{}{}".format, names, space, space, values)
    return st.lists(member, max_size=4, unique_by=_key).map(lambda members: "{" + ",".join(members) + "}")


values = st.recursive(
    scalars,
    lambda inner: st.one_of(objects(inner), st.lists(inner, max_size=2).map(lambda items: f"[{','.join(items)}]")),
    max_leaves=4,
)
specs = st.builds(
    lambda kind, path: FieldSpec("c", path, kind[0], *_typed(kind)), st.sampled_from(TYPES), st.sampled_from(PATHS)
)


def _typed(kind):
    type_, as_json, formats = arrow_type(*kind)
    return formats, type_, as_json


def nested(path, value, cut):
    """A document with `value` at `path`, names joined by dots where `cut` says so."""
    if len(path) == 1:
        return f'{{"{path[0]}":{value}}}'
    if cut & 1:
        return nested((f"{path[0]}.{path[1]}", *path[2:]), value, cut >> 1)
    return f'{{"{path[0]}":{nested(path[1:], value, cut >> 1)}}}'


@st.composite
def cases(draw):
    """One column and documents for it: mostly at its place and of its kind, sometimes of any other."""
    spec = draw(specs)
    own = dates.map(json.dumps) | numbers if spec.formats else values
    at_place = st.builds(nested, st.just(spec.path), own, st.sampled_from([0, 0, 1, 2, 3]))
    return spec, draw(st.lists(at_place | objects(values), min_size=1, max_size=5))


def exactly(spec, documents, fields=None):
    """Cells and column of `spec` by the exact way, read among `fields`."""
    fields = fields or [spec]
    cells = [RowReader(fields).read(document)[fields.index(spec)] for document in documents]
    values = [cell.value if isinstance(cell, Cell) else None for cell in cells]
    return cells, pa.array(values, spec.type)


@settings(max_examples=EXAMPLES, deadline=None)
@given(cases())
@example((FieldSpec("c", ("a", "b"), "long", (), pa.int64(), False), ['{"a":null}', '{"a.b":1}']))
def test_what_the_column_reader_accepts_is_what_the_exact_way_reads_e17(case):
    spec, documents = case
    try:
        fast = ColumnReader([spec]).read([msgspec.Raw(document.encode()) for document in documents])[0]
    except Refused:
        return
    cells, exact = exactly(spec, documents)
    assert all(isinstance(cell, Cell) for cell in cells), (documents, cells)
    assert not any(cell.touched for cell in cells)
    assert fast.equals(exact), (documents, fast, exact)
    fast.validate(full=True)


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(st.lists(cases(), min_size=1, max_size=3))
def test_a_page_of_many_documents_is_its_documents_e17(several):
    fields = [
        FieldSpec(f"c{i}", spec.path, spec.es_type, spec.formats, spec.type, spec.json)
        for i, (spec, _) in enumerate(several)
    ]
    documents = [document for _, documents in several for document in documents]
    hits = ",".join(
        f'{{"_id":"{i}","_index":"x","sort":[1],"_source":{text}}}' for i, text in enumerate(documents)
    )
    got = Decoder(fields, on_bad_value="null").decode(f'{{"hits":{{"hits":[{hits}]}}}}'.encode())
    touched = {}
    for spec in fields:
        cells, exact = exactly(spec, documents, fields)
        assert got.batch.column(spec.column).equals(exact)
        if count := sum(not isinstance(cell, Cell) or cell.touched for cell in cells):
            touched[spec.column] = count
    assert got.touched == touched


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: f"{kind[0]} {kind[1].get('format', '')}")
def test_the_fast_way_is_really_taken(kind):
    """A fast way that refuses everything would agree with anything."""
    plain = {
        "keyword": '"x"',
        "boolean": "true",
        "object": '{"k":[1]}',
        "date_nanos": '"2013-01-01T10:00:00.123456789Z"',
    }
    dated = {
        "epoch_second||yyyy-MM-dd HH:mm:ss": "1700000000",
        "dd/MM/yyyy HH:mm||basic_date": '"01/02/2013 03:04"',
    }
    value = plain.get(kind[0]) or (
        dated.get(kind[1].get("format")) or '"2013-01-01"' if kind[0] == "date" else "7"
    )
    for path in PATHS:
        spec = FieldSpec("c", path, kind[0], *_typed(kind))
        for cut in range(4):
            document = nested(path, value, cut)
            column = ColumnReader([spec]).read([msgspec.Raw(document.encode())] * 3)[0]
            assert column.null_count == 0 and column.equals(exactly(spec, [document] * 3)[1])
