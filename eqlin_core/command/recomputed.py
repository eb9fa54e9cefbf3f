"""What ``eqlin verify`` finds: what a file says, its runs computed again, and every difference."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from eqlin_core.arguments import short
from eqlin_core.command.waiting import waiting
from eqlin_core.errors import EqlinError
from eqlin_core.reports.contents import Programs, Report
from eqlin_core.reports.reading import read_report
from eqlin_core.runs.files import load_run
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.runs.verification import Check, equal


@dataclass(frozen=True)
class Verified:
    """One run of the file by its name there, with what was compared."""

    name: str
    run: TokenRun | SpectrumRun
    checks: list[Check]


@dataclass(frozen=True)
class Found:
    """Everything that was compared; ``changes`` are sentences on what a report shows and its runs do not say."""

    file: str
    changes: tuple[str, ...]
    runs: list[Verified]
    page: bool  # whether a page was compared as well

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.changes and all(check.agrees for run in self.runs for check in run.checks)


def recomputed(file: Path, model: str | None, device: str, *, numbers_only: bool) -> Found:
    """Read the file, compute its runs again and compare. Raises EqlinError where that cannot be done."""
    report, runs = _read(file)
    changes = () if report is None or numbers_only else (*report.changes, *_programs(report))
    weights = {name: {} if report is None else report.sides[name[-1] == "B"].weights for name, _ in runs}
    verified: list[Verified] = []
    with waiting() as told:
        from eqlin_core.analysis.verification import model_of, verify_run  # noqa: PLC0415 - torch is slow to import
        from eqlin_core.models.language_model import LanguageModel  # noqa: PLC0415
        from eqlin_core.models.weights import weights_of  # noqa: PLC0415

        loaded: dict[tuple[str, str, str], tuple[LanguageModel, dict[str, str]]] = {}
        for name, run in runs:
            place = (run.key.model, run.key.revision, run.key.dtype)
            if place not in loaded:
                loaded.clear()  # one model at a time
                lm = model_of(run.key, model, device, told)
                loaded[place] = lm, weights_of(lm, told)
            lm, found = loaded[place]
            checks = verify_run(run, lm, told)
            if isinstance(run, TokenRun):
                checks = [*_identity(run, lm.revision, weights[name], found), *checks]
            verified.append(Verified(name, run, checks))
    return Found(short(file.name), changes, verified, report is not None and not numbers_only)


def _read(file: Path) -> tuple[Report | None, list[tuple[str, TokenRun | SpectrumRun]]]:
    try:
        if zipfile.is_zipfile(file):
            run = load_run(file)
            if not isinstance(run, TokenRun | SpectrumRun):
                raise EqlinError(f"{short(file.name)} holds a result that verify does not compute again.")
            return None, [("run", run)]
    except OSError as error:
        raise EqlinError(f"{short(file.name)} cannot be read ({error.strerror or 'unknown'}).") from error
    report = read_report(file)
    runs: list[tuple[str, TokenRun | SpectrumRun]] = []
    for side, letter in zip(report.sides, "AB", strict=False):
        end = f" {letter}" if len(report.sides) > 1 else ""
        runs.append((f"run{end}", side.run))
        if side.spectra is not None:
            runs.append((f"spectra{end}", side.spectra))
    return report, runs


def _programs(report: Report) -> list[str]:
    """A sentence for each program that is another one here."""
    here, there = Programs.here(), report.programs
    said = []
    for name, what in (("version", "eqlin"), ("fingerprint", "The engine"), ("plotly", "plotly")):
        a, b = (short(getattr(programs, name), 12) for programs in (there, here))
        if getattr(there, name) != getattr(here, name):
            said.append(
                f"{what} was {a} where the report was written, and is {b} here: --numbers compares its runs alone."
            )
    return said


def _identity(run: TokenRun, revision: str, said: dict[str, str], found: dict[str, str]) -> list[Check]:
    """Whether the model is the one that was run: by its revision, or by its files where the file says which."""
    checks = [] if not said else [equal("weights", said, found, "the model's files are others")]
    if said and said == found:  # a copy of a folder has other times, and with them another revision
        return checks
    return [*checks, equal("revision", run.key.revision, revision)]
