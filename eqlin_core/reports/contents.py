"""What a report is of: one run or two, each with the token it explains, and which programs wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eqlin_core import arguments
from eqlin_core.errors import InvalidValue
from eqlin_core.reprs import Facts, ShortRepr, excerpt
from eqlin_core.runs.compared_run import Wanted, compared_run
from eqlin_core.runs.prompt import EarlySpectra, SpectrumRun, Target, TokenRun
from eqlin_core.runs.split import TARGET_KINDS, TargetKind
from eqlin_core.version import __version__, engine_fingerprint


@dataclass(frozen=True)
class Side:
    """A run with the likely next token that is explained, its spectra, and the SHA-256 of its model's files by name."""

    run: TokenRun
    target: Target
    spectra: SpectrumRun | None
    weights: dict[str, str]


@dataclass(frozen=True)
class Programs:
    """What wrote a report: eqlin, the fingerprint of its engine, and the plotly whose script draws the charts."""

    version: str
    fingerprint: str
    plotly: str

    @classmethod
    def here(cls) -> Programs:
        """Those of this process."""
        from plotly import __version__ as plotly  # noqa: PLC0415

        return cls(__version__, engine_fingerprint(), plotly)


@dataclass(frozen=True, repr=False)
class Report(ShortRepr):
    """What a report shows and holds: one side, or the two of a comparison.

    ``changes`` names what a file shows or says that its runs do not, a sentence each: empty for one as it was written.
    """

    sides: tuple[Side, ...]
    kind: TargetKind
    programs: Programs
    changes: tuple[str, ...] = ()

    def _facts(self) -> Facts:
        for name, side in zip("AB", self.sides, strict=False):
            yield name, f"{side.run.key.model} {excerpt(side.run.prompt)}"
        yield "explained", f"{self.kind} of {' and '.join(repr(side.target.token) for side in self.sides)}"
        yield "changes", f"{len(self.changes)} changes" if self.changes else "unchanged"

    @property
    def run(self) -> TokenRun:
        """The run, or run A of a comparison."""
        return self.sides[0].run

    @property
    def spectra(self) -> SpectrumRun | None:
        """The spectra of `run`, where they are there."""
        return self.sides[0].spectra


def report_of(
    run: Any,
    spectra: Any,
    other: Any,
    other_spectra: Any,
    kind: Any,
    targets: tuple[Any, Any],
    weights: tuple[Any, Any],
) -> Report:
    """The contents from a caller's arguments. Raises EqlinError for what cannot be reported, by its argument's name."""
    arguments.choice("kind", kind, TARGET_KINDS)
    sides = [_side("", run, spectra, kind, targets[0], weights[0])]
    if other is not None:
        sides.append(_side("compared_", other, other_spectra, kind, targets[1], weights[1]))
    elif other_spectra is not None or targets[1] is not None or weights[1] is not None:
        raise InvalidValue(
            "compared_with is the run that compared_spectra, compared_target and compared_weights are of."
        )
    return Report(tuple(sides), kind, Programs.here())


def _side(name: str, run: Any, spectra: Any, kind: TargetKind, target: Wanted, weights: Any) -> Side:
    said = "compared_with" if name else "run"
    arguments.instance(said, run, TokenRun, "a TokenRun, as token_run gives it")
    if not run.complete or run.exactness is None:
        raise InvalidValue(f"{said} is a preview, which proves nothing: report the whole run.")
    if spectra is not None:
        arguments.instance(f"{name}spectra", spectra, SpectrumRun, "a SpectrumRun or None")
        if isinstance(spectra, EarlySpectra):
            raise InvalidValue(f"{name}spectra are not all there yet: report them when they are.")
        if spectra.key != run.key or spectra.tokens != run.tokens:
            raise InvalidValue(f"{name}spectra are of another map than {said}: take both from the same one.")
    found = _target(run, kind, f"{name}target", target)
    if not any(t.token_id == found.token_id for t in run.targets):
        run = replace(run, targets=[*run.targets, found])  # so that the file holds it
    return Side(run, found, spectra, _weights(f"{name}weights", weights))


def _target(run: TokenRun, kind: TargetKind, name: str, wanted: Wanted) -> Target:
    """The token that is explained; checked as a comparison checks it."""
    compared = compared_run(run, kind, (name, wanted), (name, None))
    if isinstance(wanted, Target):
        known = [t for t in run.targets if t.token_id == wanted.token_id]
        if known and not np.array_equal(known[0].row, wanted.row):
            raise InvalidValue(f"{name} has another row than the run's token {wanted.token!r}: take the run's own.")
        return known[0] if known else wanted
    return next(t for t in run.targets if t.token == compared.explained)


def _weights(name: str, given: Any) -> dict[str, str]:
    takes = "the SHA-256 of files by name, as weights_of gives them"
    if given is None:
        return {}
    if not isinstance(given, Mapping) or len(given) > 10_000:
        arguments.wrong_type(name, given, takes)
    for file, digest in given.items():
        hexadecimal = isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")
        if not isinstance(file, str) or not hexadecimal:
            arguments.wrong_value(name, given, takes)
        arguments.text(f"a file of {name}", file)
    return dict(sorted(given.items()))
