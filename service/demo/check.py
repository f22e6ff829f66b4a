"""The look from outside, as a command: `python -m service.demo.check .demo`, also after somebody cheated."""

from __future__ import annotations

import sys
from pathlib import Path

from service import exit_codes
from service.config import load_config
from service.console import Console
from service.demo import words
from service.demo.evidence import Evidence, gather
from service.demo.narration import Narrator
from service.demo.pipeline import config_file
from service.demo.process import runs_of
from service.demo.tables import evidence_table
from state.errors import SluicewayError


def tell_evidence(tell: Narrator, evidence: Evidence) -> None:
    """The receipts, and the two fingerprints side by side."""
    repeated = evidence.repeated_receipts or "none"
    tell.say(words.TARGET_SAYS.format(receipts=evidence.receipts, runs=evidence.runs, repeated=repeated))
    tell.say(words.OUTSIDER)
    tell.show(evidence_table(evidence))


def main(folder: Path) -> int:
    """Gather the evidence again for a demo that was run in `folder`; 0 if it still holds."""
    try:
        config = load_config(config_file(folder))
        evidence = gather(config, runs_of(config))
    except SluicewayError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return exit_codes.of_error(error)
    tell_evidence(Narrator(Console(), 1), evidence)
    return exit_codes.OK if evidence.holds else exit_codes.AUDIT_MISMATCH


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
