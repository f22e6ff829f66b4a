"""What is told of a pipeline and when: once, together, not too often, again after a while, and its end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.events import Event, FreshnessBack, FreshnessMissed, RunFenced, RunReleased, RunsRepaired
from service.notify.desk import BATCHES, BURST, TROUBLES, Desk, Parcel
from service.notify.settings import Notifications
from service.report import described
from service.views_of_run import told_rows
from tests.unit.notify_world import (
    ALL,
    HOUR,
    START,
    claimed,
    failed,
    failure,
    finished,
    looked,
    quarantined,
    run,
    set_aside,
    settings,
    window,
)

BROKEN = failure("audit_mismatch", "stage rows", "the proof breaks")
BEHIND = FreshnessMissed("flights", START, timedelta(hours=3, minutes=12))


class Told:
    """A desk with its clock, in seconds; `hear` gives the titles of what is due at once."""

    def __init__(self, **fields: object) -> None:
        self.settings: Notifications = settings(**fields)
        self.desk = Desk("flights", " -c flights.yaml")
        self.clock = 0.0

    def hear(self, *events: Event) -> list[str]:
        for event in events:
            self.desk.hear(event, self.settings, self.clock)
        return self.due()

    def parcels(self, *, all_of_it: bool = False) -> list[Parcel]:
        return self.desk.due(self.settings, self.clock, all_of_it=all_of_it)

    def due(self, *, all_of_it: bool = False) -> list[str]:
        return [f"{parcel.notice.kind} {parcel.notice.count}" for parcel in self.parcels(all_of_it=all_of_it)]

    def after(self, seconds: float) -> Told:
        self.clock += seconds
        return self


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (failed(), "failed 1"),
        (quarantined(), "quarantined 1"),
        (quarantined(why=BROKEN), "audit_mismatch 1"),
        (BEHIND, "freshness_missed 0"),
        (set_aside(), "rows_set_aside 1"),
    ],
)
def test_each_kind_is_told_where_it_is_asked_for_and_nowhere_else(event, kind):
    word = kind.split()[0]
    assert Told(on=[word]).hear(event) == [kind]
    assert Told(on=ALL).hear(event) == [kind]
    others = [other for other in ALL if other != word and (word, other) != ("audit_mismatch", "quarantined")]
    assert Told(on=others).hear(event) == []


def test_rows_set_aside_are_told_once_and_nothing_recovers_from_it():
    told = Told()
    assert told.hear(set_aside()) == ["rows_set_aside 1"]
    assert told.after(60).hear(finished(), looked()) == []
    assert told.hear(set_aside(number=2), set_aside(1)) == ["rows_set_aside 2"]


def test_a_broken_proof_is_told_as_quarantined_where_only_that_is_asked_for():
    assert Told(on=["quarantined"]).hear(quarantined(why=BROKEN)) == ["quarantined 1"]


def test_the_same_run_and_kind_is_told_once_whatever_the_error():
    told = Told()
    assert told.hear(failed()) == ["failed 1"]
    for why in (failure(), failure(code="503"), failure("restart", "lost_pit")):
        assert told.after(60).hear(failed(why=why)) == []


def test_another_kind_and_another_run_of_the_window_are_told():
    told = Told()
    assert told.hear(failed()) == ["failed 1"]
    assert told.hear(quarantined(why=BROKEN)) == ["audit_mismatch 1"]
    assert told.hear(quarantined(why=BROKEN, number=2)) == ["audit_mismatch 1"]


def test_a_failure_that_became_a_quarantine_before_it_was_told_is_told_as_that_alone():
    told = Told(gather_seconds=10)
    told.hear(failed(), quarantined())
    assert told.after(10).due() == ["quarantined 1"]


def test_a_run_that_an_operator_let_go_on_and_that_is_quarantined_anew_is_told_anew():
    told = Told()
    assert told.hear(quarantined(), quarantined()) == ["quarantined 1"]
    assert told.hear(quarantined(at=START + 11 * HOUR)) == ["quarantined 1"]


def test_windows_that_fail_alike_are_one_notification_with_their_number():
    told = Told(gather_seconds=10)
    assert told.hear(*(failed(n) for n in range(57))) == []
    assert told.desk.next_at() == 10.0
    [parcel] = told.after(10).parcels()
    assert (parcel.notice.kind, parcel.notice.count, len(parcel.notice.affected)) == ("failed", 57, 10)
    assert parcel.notice.title == "flights: 57 runs alike: failed, and is tried again by itself"
    assert "and 47 more" in parcel.notice.text
    assert told.desk.next_at() is None


def test_what_fails_otherwise_is_told_by_itself():
    assert Told().hear(failed(0), failed(1), failed(2, failure(code="503"))) == ["failed 2", "failed 1"]


def test_five_go_out_at_once_then_one_for_each_spacing_worst_first_and_none_is_lost():
    told = Told(spacing_seconds=60)
    assert len(told.hear(*(failed(n, failure(code=f"c{n}")) for n in range(BURST)))) == BURST
    waiting = [failed(10, failure(code="other")), BEHIND, quarantined(11), quarantined(12, BROKEN)]
    assert told.hear(*waiting) == []
    assert told.desk.next_at() == 60.0
    assert told.after(59).due() == []
    assert told.after(1).due() == ["audit_mismatch 1"]
    assert told.hear(failed(13, failure(code="other"))) == []
    assert told.after(60).due() == ["quarantined 1"]
    assert told.after(60).due() == ["freshness_missed 0"]
    assert told.after(60).due() == ["failed 2"]
    assert (
        told.after(3600).hear(*(failed(n, failure(code=f"d{n}")) for n in range(20, 30))) == ["failed 1"] * BURST
    )


def test_at_the_end_nothing_waits():
    told = Told(gather_seconds=10, spacing_seconds=60)
    told.hear(*(failed(n, failure(code=f"c{n}")) for n in range(9)))
    assert told.due(all_of_it=True) == ["failed 1"] * 9


def test_the_end_is_told_of_what_was_told():
    told = Told()
    told.hear(failed(0), failed(1))
    assert told.hear(finished(0), finished(1)) == ["recovered 2"]
    assert told.hear(finished(0), finished(5)) == []


def test_the_end_of_what_was_never_told_is_not_told():
    told = Told(gather_seconds=10)
    assert told.hear(failed(0), failed(1)) == []
    assert told.after(5).hear(finished(0)) == []
    assert told.after(5).due() == ["failed 1"]
    assert Told(on=["quarantined", "recovered"]).hear(failed(), finished()) == []


def test_the_end_is_not_told_where_nobody_asks_for_it():
    told = Told(on=["failed"])
    assert told.hear(failed()) == ["failed 1"]
    assert told.hear(finished()) == []


def test_the_end_of_a_window_is_told_whichever_run_loads_it():
    told = Told()
    told.hear(quarantined(why=BROKEN))
    assert told.hear(finished(number=2)) == ["recovered 1"]


def test_the_end_is_told_when_a_failure_was_told_and_its_quarantine_still_waited():
    told = Told(gather_seconds=10)
    told.hear(failed())
    assert told.after(10).due() == ["failed 1"]
    told.hear(quarantined())
    assert told.hear(finished()) == []
    assert told.after(10).due() == ["recovered 1"]


def test_runs_that_receipts_prove_are_recovered():
    told = Told()
    told.hear(failed(0), failed(1))
    assert told.hear(RunsRepaired("flights", (run(0).name,))) == ["recovered 1"]
    assert told.hear(finished(0)) == []


def test_freshness_is_told_once_until_it_is_back():
    told = Told()
    assert told.hear(BEHIND, BEHIND) == ["freshness_missed 0"]
    assert told.hear(looked(unfinished=0, quarantined=0)) == []
    assert told.hear(FreshnessBack("flights")) == ["recovered 0"]
    assert told.hear(FreshnessBack("flights")) == []
    assert told.hear(BEHIND) == ["freshness_missed 0"]


def test_what_waits_for_an_operator_is_told_again_with_each_look_after_a_while():
    told = Told(repeat_after_seconds=3600)
    told.hear(quarantined(0), quarantined(1), BEHIND)
    assert told.after(3599).hear(looked()) == []
    told.after(1).desk.hear(looked(), told.settings, told.clock)
    again = told.parcels()
    assert [(p.notice.kind, p.notice.count, p.notice.again) for p in again] == [
        ("quarantined", 2, True),
        ("freshness_missed", 0, True),
    ]
    assert again[0].notice.title == "flights: 2 runs alike: still quarantined, an operator decides"
    assert told.hear(looked()) == []
    assert told.after(3600).hear(looked()) == ["quarantined 2", "freshness_missed 0"]


def test_a_failure_that_goes_on_by_itself_is_told_again_when_it_fails_again_after_a_while():
    told = Told(repeat_after_seconds=3600)
    told.hear(failed())
    assert told.after(3600).hear(looked()) == []
    assert told.hear(failed()) == ["failed 1"]
    assert told.hear(failed()) == []


def test_nothing_is_told_again_where_that_is_switched_off():
    told = Told(repeat_after_seconds=0)
    told.hear(quarantined(), failed(1))
    assert told.after(1e6).hear(looked(), failed(1)) == []


@pytest.mark.parametrize(
    "settled",
    [looked(unfinished=0), looked(quarantined=0), looked(loaded_until=window(0).end)],
)
def test_what_was_settled_elsewhere_is_not_told_again(settled):
    told = Told(repeat_after_seconds=3600)
    told.hear(quarantined())
    assert told.hear(settled) == []
    assert told.after(7200).hear(looked()) == []
    assert told.hear(finished()) == []


def test_a_look_from_before_a_failure_takes_nothing_back_that_waits():
    told = Told(gather_seconds=10)
    told.hear(quarantined(), looked(quarantined=0, unfinished=0))
    assert told.after(10).due() == ["quarantined 1"]


def test_a_run_that_another_worker_owns_now_is_its_business():
    told = Told(repeat_after_seconds=60)
    told.hear(quarantined())
    told.hear(RunFenced(run(), "taken"), RunReleased(run(1)))
    assert told.after(60).hear(looked()) == []
    assert told.hear(finished()) == []


@pytest.mark.parametrize(
    ("on", "before", "fields", "said"),
    [
        (["failed", "recovered"], failed(), {}, ["recovered 1"]),
        (["quarantined", "recovered"], quarantined(), {"quarantined_at": None, "strikes": 0}, ["recovered 1"]),
        (["quarantined", "recovered"], failed(), {}, []),
    ],
)
def test_the_end_of_what_another_process_told_is_told(on, before, fields, said):
    assert Told(on=on).hear(claimed(before, **fields), finished()) == said


def test_what_another_process_told_is_not_told_anew_but_after_a_while():
    later = claimed(failed(), updated_at=failure().at + timedelta(seconds=30))
    assert Told(repeat_after_seconds=3600).hear(later, failed()) == []
    later = claimed(failed(), updated_at=failure().at + timedelta(seconds=3600))
    assert Told(repeat_after_seconds=3600).hear(later, failed()) == ["failed 1"]


def test_what_the_drive_table_knows_at_the_start_counts_as_told():
    told = Told(repeat_after_seconds=3600)
    held = quarantined(at=START)
    told.desk.know(held.run, told.settings, START + timedelta(seconds=1800), told.clock)
    assert told.hear(held, looked()) == []
    assert told.after(1800).hear(looked()) == ["quarantined 1"]
    assert told.hear(finished()) == ["recovered 1"]


def test_what_reached_nobody_is_told_at_the_next_occasion_and_its_end_is_not():
    told = Told()
    told.desk.hear(failed(0), told.settings, 0.0)
    told.desk.hear(quarantined(1), told.settings, 0.0)
    for parcel in told.parcels():
        told.desk.unheard(parcel)
    assert told.hear(finished(0)) == []
    assert told.hear(looked()) == ["quarantined 1"]
    assert told.hear(finished(1)) == ["recovered 1"]


def test_what_is_remembered_is_bounded_and_the_number_told_is_right():
    told = Told(gather_seconds=10)
    told.hear(*(failed(n) for n in range(TROUBLES + 7)))
    assert told.after(10).due() == [f"failed {TROUBLES + 7}"]
    assert told.hear(*(finished(n) for n in range(TROUBLES + 7))) == []
    assert told.after(10).due() == [f"recovered {TROUBLES}"]


def test_of_too_many_kinds_of_failure_the_oldest_are_given_up_and_counted():
    told = Told(gather_seconds=10)
    told.hear(*(failed(n, failure(code=f"c{n}")) for n in range(BATCHES + 3)))
    assert told.desk.dropped == 3
    assert len(told.due(all_of_it=True)) == BATCHES


def test_the_lines_are_those_of_show_with_the_way_to_the_same_configuration():
    told = Told()
    told.desk.hear(quarantined(), told.settings, 0.0)
    [parcel] = told.parcels()
    assert list(parcel.notice.rows) == told_rows(described(quarantined().run, " -c flights.yaml"))
    assert "sluiceway retry flights_20251115_00h_run1 -c flights.yaml" in parcel.notice.text
