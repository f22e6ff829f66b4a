"""What names mean, how proposals become text, and what a URL of a source tells: without any server."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.elasticsearch.mappings import union
from connectors.elasticsearch.proposing import date_fields, settings_of
from connectors.elasticsearch.proposing_names import streams
from connectors.proposals import Meaning, Proposal, Proposed, Setting, meaning
from service.config_text import read_text
from service.proposing import Target, flow, pipeline_file, planned, shared_file, start_of, target, width_of
from service.source_url import PASSWORD, has_password, opened
from state.errors import ConfigurationError

NOW = datetime(2025, 11, 15, 12, 30, tzinfo=UTC)
SECRET = "canary-5d0e11"


def proposal(name: str = "orders", **changes) -> Proposal:
    given = {
        "rows": 3,
        "key": ("id",),
        "cursor": "updated_at",
        "meaning": Meaning.CHANGED,
        "first": NOW - timedelta(days=3),
        "last": NOW,
        "source": (Setting("table", name),),
    }
    return Proposal(name, **(given | changes))


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("updated_at", Meaning.CHANGED),
        ("lastModified", Meaning.CHANGED),
        ("LAST_CHANGE", Meaning.CHANGED),
        ("event.ingested", Meaning.ARRIVED),
        ("created", Meaning.CREATED),
        ("dateAdded", Meaning.CREATED),
        ("@timestamp", Meaning.HAPPENED),
        ("model_date", Meaning.HAPPENED),
        ("updatedness", Meaning.HAPPENED),
    ],
)
def test_what_a_date_says_of_its_row_by_its_name(name, means):
    assert meaning(name) is means


def listed(*indices: str, **more) -> dict:
    return {"indices": [{"name": name} for name in indices], "aliases": [], "data_streams": []} | more


@pytest.mark.parametrize(
    ("names", "globs", "found"),
    [
        (["orders", "users"], ["*"], ["orders", "users"]),
        (["orders", "users", ".kibana_1"], ["*"], ["orders", "users"]),
        (["logs-2025.01.01", "logs-2025.01.02"], ["*"], ["logs-*"]),
        (["logs-2025.01", "logs-app-2025.01"], ["*"], ["logs-2*", "logs-app-*"]),
        (["logs-000001", "logs-000002", "logs-0"], ["*"], ["logs-0", "logs-000001", "logs-000002"]),
        (["logs-2025.01.01", "logs-2025.01.02"], ["logs-2025.01.01"], ["logs-2025.01.01"]),
        (["a", "b", "c"], ["a", "c", "a"], ["a", "c"]),
        (["a"], ["z*"], []),
    ],
)
def test_indices_of_one_series_are_one_stream_and_no_pattern_takes_in_another_name(names, globs, found):
    assert [stream.name for stream in streams(listed(*names), globs)] == found


def test_a_data_stream_stands_for_what_is_behind_it_and_an_alias_only_where_no_index_has_its_name():
    behind = {"name": "metrics", "backing_indices": [".ds-metrics-1"]}
    shown = listed(".ds-metrics-1", "orders_v2", data_streams=[behind], aliases=[{"name": "orders"}])
    assert [(one.name, one.grows) for one in streams(shown, ["*"])] == [("metrics", True), ("orders_v2", False)]
    assert [(one.name, one.kind) for one in streams(shown, ["orders"])] == [("orders", "alias")]


def test_a_cursor_is_a_date_of_every_index_that_can_be_searched():
    able = {"type": "date"}
    first = {"at": able, "updated_at": able, "mixed": able, "dark": able | {"index": False}}
    first |= {"filled": able | {"null_value": 0}, "x": {"properties": {"ingested": {"type": "date_nanos"}}}}
    second = {"mixed": {"type": "keyword"}, "at": able}
    found = union({name: {"mappings": {"properties": one}} for name, one in (("a", first), ("b", second))})
    assert date_fields(found) == ["updated_at", "x.ingested", "at"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_written_is_read_as_it_was(value):
    assert read_text(f"key: {flow(value)}", "x.yaml").data == {"key": value}


@pytest.mark.parametrize(
    ("age", "width", "start"),
    [
        (timedelta(days=3), "1h", "2025-11-12T12:00:00+00:00"),
        (timedelta(days=400), "day", "2024-10-11T00:00:00+00:00"),
        (timedelta(days=365 * 30), "month", "1995-11-01T00:00:00+00:00"),
    ],
)
def test_windows_begin_at_the_edge_before_the_first_row_and_are_a_number_one_wants_to_see(age, width, start):
    assert width_of(NOW - age, NOW) == width
    assert start_of(NOW - age, width).isoformat() == start


def test_no_two_pipelines_have_one_name():
    found = [proposal(name) for name in ("Order-Lines", "order_lines", "2025", "", "x" * 90)]
    names = [one.name for one in planned(Proposed("x", {}, found), NOW)]
    assert names == ["order_lines", "order_lines_2", "t_2025", "pipeline", "x" * 60]


def text_of(one: Proposal, to: Target) -> dict:
    [plan] = planned(Proposed("x", {}, [one]), NOW)
    return dict(read_text(pipeline_file(plan, to, "sluiceway doctor"), "x.yaml").data)


def test_only_a_date_that_moves_with_every_change_tells_which_version_is_newer():
    to = target("duckdb")
    assert text_of(proposal(), to)["target_system"]["version"] == "updated_at"
    assert text_of(proposal(meaning=Meaning.CREATED), to)["target_system"]["version"] == "read_at"


def test_append_promises_a_steady_cursor_and_has_no_lookback():
    found = text_of(proposal(append=True, key=()), target("duckdb"))
    assert found["target_system"] == {"table": "orders", "mode": "append", "cursor_immutable": True}
    assert "lookback_seconds" not in found["windows"]


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"])
def test_a_name_that_holds_the_end_of_a_line_does_not_become_a_setting(end):
    name = f"orders{end}phases: {{}}"
    found = text_of(proposal(name, notes=(name,), source=(Setting("table", name, name),)), target("duckdb"))
    assert "phases" not in found
    assert found["source_system"] == {"connection": "source", "table": name}


def test_a_target_in_snowflake_has_its_connection_in_the_shared_file():
    to = target("snowflake:raw.shop")
    shared = read_text(shared_file(Proposed("MariaDB", {"type": "mysql"}), to), "shared.yaml").data
    assert shared["defaults"]["snowflake_connection"]["role"] == "SLUICEWAY_ROLE"
    assert shared["defaults"]["stage_system"] == {"stage": "RAW.SHOP.SLUICEWAY"}
    assert text_of(proposal(), to)["target_system"]["table"] == "RAW.SHOP.ORDERS"
    with pytest.raises(ConfigurationError, match="is no target"):
        target("oracle:x")


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"])
def test_what_a_server_says_it_is_does_not_become_a_setting(end):
    said = Proposed(f"MariaDB 11{end}defaults: {{}}", {"type": "mysql"})
    shared = read_text(shared_file(said, Target("duckdb", "w.duckdb")), "shared.yaml").data
    assert shared["defaults"]["target_system"]["database"] == "w.duckdb"
    assert shared["connections"] == {"source": {"type": "mysql"}}


def test_a_url_becomes_references_and_the_password_is_there_only_meanwhile(monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)
    url = f"https://re%40der:{SECRET}%2F@es.company.com:9200/below/?ca_file=/ca.pem"
    assert has_password(url)
    with opened(url, None) as access:
        assert (access.user, access.host, access.port, access.path) == ("re@der", "es.company.com", 9200, "below")
        assert access.password.read() == f"{SECRET}/"
        settings = settings_of(access)
    assert PASSWORD not in os.environ
    assert settings.endpoint == "https://es.company.com:9200/below"
    assert SECRET not in repr(settings) + repr(access)


def test_the_password_comes_from_the_environment_or_a_person_or_it_is_said_what_to_set(monkeypatch):
    monkeypatch.setenv(PASSWORD, "from-the-environment")
    with opened("http://reader@es", None) as access:
        assert access.password.read() == "from-the-environment"
    monkeypatch.delenv(PASSWORD)
    with opened("http://reader@es", lambda _question: "typed") as access:
        assert access.password.read() == "typed"
    with (
        pytest.raises(ConfigurationError, match="no password for reader") as caught,
        opened("http://reader@es", None),
    ):
        raise AssertionError("opened")
    assert PASSWORD in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        f"http://reader:{SECRET}/x@es:9200",
        f"http://reader:{SECRET}#x@es:9200",
        f"http://reader:{SECRET}@es:port",
        f"postgres://reader:{SECRET}@es",
        f"{SECRET}",
        f"http://es?{SECRET}=1",
    ],
)
def test_of_a_url_that_is_none_not_a_piece_is_repeated(url):
    with pytest.raises(ConfigurationError) as caught, opened(url, None):
        raise AssertionError("opened")
    assert SECRET not in caught.value.message + caught.value.hint
