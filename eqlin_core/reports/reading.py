"""Reading a report: its runs, and whether it shows what they say. Nothing in the file is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqlin_core import arguments
from eqlin_core.disk import read_file
from eqlin_core.errors import EqlinError
from eqlin_core.reports.contents import Programs, Report, Side
from eqlin_core.reports.pieces import changed, separated
from eqlin_core.reports.proof import programs_in, proof_of
from eqlin_core.reports.report import pieces_of
from eqlin_core.reports.stored import from_base64, run_from
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.runs.split import TARGET_KINDS

# Bytes of a file, and of the JSON of its proof.
MOST_BYTES, MOST_PROOF = 1 << 30, 16 << 20


def read_report(path: str | Path) -> Report:
    """The runs of a report that `write_report` wrote, and in ``changes`` what it shows or says that they do not.

    The page is made again from the runs in the file and compared with it, text by text and number by number. Raises
    EqlinError for a file that is damaged, or no report.
    """
    place = arguments.path("path", path)
    name = arguments.short(place.name)
    try:
        return _report(separated(read_file(place, "The report", MOST_BYTES).decode()))
    except EqlinError:
        raise
    except OSError as error:
        raise EqlinError(f"{name} cannot be read ({error.strerror or 'unknown'}).") from error
    except Exception as error:  # what a changed byte makes of a file is nobody's list
        raise EqlinError(f"{name} is no report of eqlin, or is damaged: write it again.") from error


def _report(pieces: Mapping[str, str]) -> Report:
    proof = json.loads(_content(pieces["proof"], "json", "proof", MOST_PROOF))
    stored = {
        name: from_base64(_content(text, "octet-stream", name, MOST_BYTES).strip())
        for name, text in pieces.items()
        if re.fullmatch("(run|spectra)-[ab]", name)
    }
    if proof["kind"] not in TARGET_KINDS:
        raise ValueError("kind")
    claims = proof["runs"]
    sides = tuple(_side(letter, claim, stored) for letter, claim in zip("ab", claims, strict=False))
    if len(claims) != len(sides) or not sides or any(name[-1] not in "ab"[: len(sides)] for name in stored):
        raise ValueError("runs")
    report = Report(sides, proof["kind"], programs_in(proof))
    return Report(sides, report.kind, report.programs, tuple(_changes(report, pieces, stored, proof)))


def _side(letter: str, claim: Mapping[str, Any], stored: Mapping[str, bytes]) -> Side:
    run = run_from(stored[f"run-{letter}"])
    spectra = run_from(stored[f"spectra-{letter}"]) if f"spectra-{letter}" in stored else None
    if not isinstance(run, TokenRun) or not run.complete or not isinstance(spectra, SpectrumRun | None):
        raise ValueError("kind of run")
    if spectra is not None and spectra.tokens != run.tokens:
        raise ValueError("spectra")
    target = next(t for t in run.targets if t.token_id == claim["target"]["id"])
    weights = claim["weights"]
    if not all(isinstance(text, str) for pair in weights.items() for text in pair):
        raise ValueError("weights")
    return Side(run, target, spectra, dict(weights))


def _changes(
    report: Report, pieces: Mapping[str, str], stored: Mapping[str, bytes], proof: Mapping[str, Any]
) -> list[str]:
    """A sentence for every part of the file that is not what the stored runs make of it."""
    expected = proof_of(report, stored)
    said = [
        f"The stored {name.replace('-', ' ')} is not the one that was written: its checksum is another."
        for name, digest in expected["stored"].items()
        if proof["stored"].get(name) != digest
    ]
    said += _claims(proof, expected)
    try:
        fresh = pieces_of(report, stored)
    except Exception as error:  # a chart refuses sums that do not hold, in many ways
        return [*said, f"The page cannot be made from the stored runs ({arguments.short(str(error), 120)})."]
    names = [name for name in changed(pieces, fresh) if name != "proof" or not said]
    here = Programs.here()
    for name in names:
        why = ""
        if (report.programs.version, report.programs.plotly) != (here.version, here.plotly):
            why = (
                f", or was written by another version (eqlin {arguments.short(report.programs.version)}, plotly "
                f"{arguments.short(report.programs.plotly)})"
            )
        said.append(f"The page's part {arguments.short(name)!r} is not what the stored runs say{why}.")
    return said


def _claims(proof: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What the proof says of the runs that they do not say themselves."""
    said = []
    for letter, claim, true in zip("AB", proof["runs"], expected["runs"], strict=False):
        said += [
            f"The proof says {arguments.shown(claim.get(name))} for {name.replace('_', ' ')} of run {letter}, which "
            f"says {arguments.shown(value)}."
            for name, value in true.items()
            if claim.get(name) != value
        ]
    return said


def _content(piece: str, kind: str, name: str, most: int) -> str:
    """What stands in the element of this name. Raises ValueError where it is not there."""
    found = re.findall(rf'<script type="application/{kind}" id="{name}">([^<]*)</script>', piece)
    if len(found) != 1 or len(found[0]) > most:
        raise ValueError(name)
    return str(found[0])
