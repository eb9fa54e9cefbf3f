"""What is said of two runs that are compared: what they differ in, what to know of the numbers, what is missing."""

from __future__ import annotations

from eqlin_core.reprs import counted
from eqlin_core.runs.compare_spectra import JointComparison, SpectraComparison
from eqlin_core.runs.compared_run import ComparedRun
from eqlin_core.runs.prompt import TokenRun
from eqlin_core.runs.split import baseline_words


def differs(a: ComparedRun, b: ComparedRun) -> list[tuple[str, str, str]]:
    """What the runs differ in: (what, in A, in B)."""
    said = [
        {
            "model": side.key.model,
            "revision": side.key.revision,
            "precision": side.key.dtype,
            "engine": side.key.engine,
            "device": side.device,
            "prompt": side.prompt,
            "length": counted(len(side.tokens), "token"),
            "map": side.split.convention.words,
            "baseline": baseline_words(side.split.baseline),
            "explained": side.explained_words,
            "state": "whole" if side.complete else "preview",
        }
        for side in (a, b)
    ]
    return [(what, said[0][what], said[1][what]) for what in said[0] if said[0][what] != said[1][what]]


def remarks(a: TokenRun, b: TokenRun) -> list[str]:
    """What to know of numbers that are compared although they are of two models."""
    if a.key.model == b.key.model and a.key.revision == b.key.revision:
        return []
    names = f"{a.key.model} and {b.key.model}" if a.key.model != b.key.model else f"Two revisions of {a.key.model}"
    said = [f"{names} are two models: logits have no common scale, and tokens are aligned by their text."]
    if _other_ids(a, b):
        said.append("Their tokenisers differ: the same text has other ids, and may be cut in other places.")
    if a.width == b.width:
        said.append("Angles between two models compare coordinates, which only related models share.")
    return said


def missing(
    sides: dict[str, ComparedRun],
    widths: tuple[int, int],
    spectra: SpectraComparison | None,
    joint: JointComparison | None,
) -> dict[str, str]:
    """A sentence for everything that is None, by its name in a `RunComparison`."""
    said = {}
    for name, side in sides.items():
        if side.probability is None:
            said[f"{name}.probability"] = (
                f"The probability of {side.explained!r} is not known: it is none of the likely next tokens that run "
                f"{name.upper()} holds. Its terms are compared."
            )
        if side.exactness is None:
            said[f"{name}.exactness"] = f"Run {name.upper()} is a preview, whose exactness is not measured yet."
    for name, part in (("spectra", spectra), ("joint", joint)):
        if part is None:
            said[name] = f"The {_NAMES[name]} are compared where both runs have theirs."
        elif part.left_angles is None:
            said[f"{name}.left_angles"] = (
                f"Directions in {widths[0]} and in {widths[1]} dimensions have no angle. Singular values, stable ranks "
                "and read-outs are compared."
            )
    if spectra is not None and spectra.right_angles is None:
        said["spectra.right_angles"] = said["spectra.left_angles"]
    return said


_NAMES = {"spectra": "spectra", "joint": "triplets of all tokens' matrices together"}


def _other_ids(a: TokenRun, b: TokenRun) -> bool:
    """Whether a token that both runs name has another id in each."""
    ids = [
        dict(zip(run.tokens, run.key.token_ids, strict=False)) | {t.token: t.token_id for t in run.targets}
        for run in (a, b)
    ]
    return any(ids[0][token] != ids[1][token] for token in ids[0].keys() & ids[1].keys())
