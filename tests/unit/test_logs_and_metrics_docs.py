"""docs/metrics.md and docs/logs.md have every series, label, field and event, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.events import PipelineAdded
from service.log_line import LOG_RECORD, NAMES, Line
from service.metric_words import ROWS
from service.metrics import Metrics
from tests.servers.prometheus import Prometheus
from tests.unit.metric_script import whole_run

DOCS = Path(__file__).parents[2] / "docs"
SERIES_ROW = re.compile(r"^\| `(sluiceway_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Each series of the page with its type and labels; those of the first table have `pipeline` besides."""
    pipelines, process = (DOCS / "metrics.md").read_text().split("## Of the process")
    found = {}
    for text, more in ((pipelines, {"pipeline"}), (process, set())):
        for name, kind, labels in SERIES_ROW.findall(text):
            found[name] = (kind, frozenset({*re.findall(r"`(\w+)`", labels), *more}))
    return found


def there() -> dict[str, tuple[str, frozenset[str]]]:
    metrics = Metrics()
    for event in [PipelineAdded("p"), *whole_run("p")]:
        metrics.hear(event)
    found = {}
    for family in text_string_to_metric_families(metrics.text()[0].decode()):
        if family.name.startswith("sluiceway_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = (family.type, frozenset(labels))
    return found


def test_the_page_has_every_series_with_its_type_and_labels():
    assert documented() == there()


def test_the_page_has_every_station_of_a_row():
    table = (DOCS / "metrics.md").read_text().split("### Rows")[1].split("## Of the process")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == ["stage", *ROWS]


def queries() -> list[str]:
    return re.findall(r"^\| [^|`]+ \| `([^`]+)` \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE)


def test_the_queries_of_the_page_are_understood_and_use_series_that_are_there(prometheus: Prometheus):
    assert len(queries()) >= 8
    names = {name.removesuffix("_bucket") for query in queries() for name in re.findall(r"sluiceway_\w+", query)}
    assert names <= set(there())
    for query in queries():
        prometheus.query(query)  # raises if it is not understood


def first_cells(table: str) -> list[str]:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


@pytest.mark.parametrize(
    ("number", "names"),
    [
        (1, {field.name for field in msgspec.structs.fields(Line)}),
        (2, {*NAMES.values(), LOG_RECORD, "lines_lost"} - {"rows_read"}),
    ],
    ids=["fields", "events"],
)
def test_the_page_has_every_field_and_every_event(number, names):
    tables = (DOCS / "logs.md").read_text().split("|---|---|")
    told = first_cells(tables[number])
    assert set(told) == names
    assert len(told) == len(names)
