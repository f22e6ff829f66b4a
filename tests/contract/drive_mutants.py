"""Every broken drive table, by what is wrong with it."""

from __future__ import annotations

from tests.contract.drive_mutants_leases import LEASES
from tests.contract.drive_mutants_reopen import REOPEN
from tests.contract.drive_mutants_runs import RUNS
from tests.contract.drive_mutants_summaries import SUMMARIES

MUTANTS = {**RUNS, **LEASES, **REOPEN, **SUMMARIES}
