"""``python -m tests.benchmarks.architectures``: what ``--all`` of the audit takes, and what takes longest."""

from __future__ import annotations

import time

from eqlin_core.audit.architectures import architectures
from eqlin_core.audit.every import examine_all, summary
from tests.benchmarks.measure import machine, markdown

SLOWEST = 5


def main() -> None:
    begun = time.monotonic()
    findings = list(examine_all(architectures()))
    total = time.monotonic() - begun
    slow = sorted(findings, key=lambda finding: -finding.seconds)[:SLOWEST]
    rows = [[finding.model_type, finding.verdict, f"{finding.seconds:.1f} s"] for finding in slow]
    print(markdown(["slowest", "verdict", "its own time"], rows))
    print(f"\nAll {len(findings)} in {total:.0f} s: {summary(findings)}.\n\n{machine()}")


if __name__ == "__main__":
    main()
