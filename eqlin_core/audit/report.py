"""``python -m eqlin_core.audit MODEL``: what is frozen in a model, how exact its map is, and what leaks, on one screen.

``--table`` prints the errors of every known family instead, ``--all`` a line for every architecture that the installed
transformers can build. The exit status is 0 only when everything is exact, 1 when
something is not, 2 when there is nothing to audit (an unknown model, a prompt that cannot be used).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from eqlin_core.audit.every import print_all
from eqlin_core.audit.table import family_rows, markdown
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.treatments import treatments
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.linearization import linearize
from eqlin_core.models import bundled, four_bit
from eqlin_core.models.checkpoints import DTYPES
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.loading import load_model
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.runs.convention import Convention, settings, share_text
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.treatments import Treatment, gated

PROMPT = "The bridge out of Marin is the"
# For a model without a tokenizer: this many ids, spread over the vocabulary.
_FIXED_IDS = 11


@dataclass(frozen=True)
class Measured:
    """One map's exactness at one setting of the dials, and how every module class was frozen for it."""

    convention: Convention
    exactness: Exactness
    bounds: tuple[float, float]
    treatments: list[Treatment]


@dataclass(frozen=True)
class Audit:
    """What a model is made of and how exact its maps are: one ``Measured`` for each precision and setting."""

    model: str
    model_type: str
    class_name: str
    n_layers: int
    width: int
    n_tokens: int
    gated: bool
    affine: bool
    measured: list[Measured]

    @property
    def exact(self) -> bool:
        """Whether every map is exact."""
        return all(m.exactness.exact for m in self.measured)

    @property
    def leaks(self) -> list[str]:
        """What leaks in any of the maps, each once."""
        return list(dict.fromkeys(leak for m in self.measured for leak in m.exactness.leaks))


def audit(lm: LanguageModel, prompt: str | None = None, *, token_ids: Sequence[int] | None = None) -> Audit:
    """The audit of ``lm`` in its own precision at one prompt, at several settings of both dials (``settings``).

    Without a prompt it takes a stock sentence, or fixed token ids where the model has no tokenizer. Raises EqlinError
    for a prompt that cannot be used and for a model that cannot be frozen, by the name of its module.
    """
    ids = _ids(lm, prompt, token_ids)
    first = linearize(lm, token_ids=ids)
    affine = bool(first.bias.any())
    measured = [measure(first)]
    both = gated(measured[0].treatments)
    del first  # two recordings need not share the memory
    for setting in settings(both)[1:]:
        measured.append(measure(linearize(lm, token_ids=ids, **setting.keywords)))
    return Audit(
        model=lm.name,
        model_type=lm.text_config.model_type,
        class_name=type(lm.model).__name__,
        n_layers=lm.n_layers,
        width=lm.width,
        n_tokens=len(ids),
        gated=both,
        affine=affine,
        measured=measured,
    )


def measure(lin: LinearMap) -> Measured:
    """How exact this map is and how each module class was frozen for it; no matrix is computed."""
    exactness = lin.exactness()
    return Measured(lin.convention, exactness, exactness.bounds, treatments(lin.network, exactness.leaks))


def report(audited: Audit) -> str:
    """The audit as plain text: the family, the module classes, the numbers, the leaks, the verdict."""
    kind = f"{'gated' if audited.gated else 'plain'} MLPs, {'affine (b is not 0)' if audited.affine else 'b = 0'}"
    head = f"{audited.model}: {audited.model_type}, {audited.class_name}"
    size = f"{audited.n_layers} blocks, d = {audited.width}, {audited.n_tokens} tokens, {kind}"
    first = audited.measured[0]
    lines = [head, size, "", *_module_lines(first.treatments)]
    for other in (Convention("gate"), Convention("half", "half"), Convention(attention="half")):
        found = next((m for m in audited.measured if m.convention == other), None)
        if found is not None:
            changed = [t for t in found.treatments if t not in first.treatments]
            lines += [f"with {_settings(other)}:", *_module_lines(changed, first.treatments)[1:]]
    lines += ["", *_number_lines(audited.measured), ""]
    lines += [f"leak: {leak}" for leak in audited.leaks] or ["no leaks"]
    return "\n".join([*lines, "exact" if audited.exact else "NOT EXACT"])


def main(
    arguments: Sequence[str] | None = None,
    load: Callable[[str, str, str], LanguageModel] | None = None,
    prog: str = "python -m eqlin_core.audit",
) -> int:
    """Run the command with these arguments; ``load(name, dtype, device)`` stands in for ``load_model``.

    ``prog`` is what its help calls it.
    """
    options = _parser(prog).parse_args(arguments)
    if options.table:
        rows = family_rows()
        print(markdown(rows))
        return 0 if all(row.exact for row in rows) else 1
    if options.all:
        try:
            return print_all(options.json)
        except EqlinError as error:
            print(error, file=sys.stderr)
            return 2
    try:
        if options.model is None:
            raise EqlinError("Name a model to audit (such as smollm2-135m, a folder or a .gguf file), or give --table.")
        if options.prompt is not None and options.token_ids is not None:
            raise EqlinError("Give --prompt or --token-ids, not both.")
        audits = list(_audits(options, load or _load))
    except _NotFreezable as refusal:
        print(f"{options.model}: NOT EXACT\n{refusal}")
        return 1
    except EqlinError as error:
        print(error, file=sys.stderr)
        return 2
    audited = replace(audits[0], measured=[m for a in audits for m in a.measured])
    print(report(audited))
    return 0 if audited.exact else 1


class _NotFreezable(EqlinError):
    """The model was loaded and the prompt is good, and still there is no map."""


def _audits(options: argparse.Namespace, load: Callable[[str, str, str], LanguageModel]) -> Iterable[Audit]:
    for dtype in dict.fromkeys(options.dtype):
        lm = load(options.model, dtype, options.device)
        ids = _ids(lm, options.prompt, options.token_ids)
        try:
            audited = audit(lm, token_ids=ids)
        except EqlinError as error:
            raise _NotFreezable(str(error)) from error
        del lm  # two models never share the memory
        yield audited


def _ids(lm: LanguageModel, prompt: str | None, token_ids: Sequence[int] | None) -> list[int]:
    if prompt is None and token_ids is None:
        if lm.tokenizer is None:
            vocab = lm.vocab_size
            return [(3 + i * max(1, vocab // _FIXED_IDS)) % vocab for i in range(_FIXED_IDS)]
        prompt = PROMPT
    return prompt_ids(lm, prompt, token_ids)


def _load(name: str, dtype: str, device: str) -> LanguageModel:
    def say(_fraction: float | None, message: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{message:<78.78}", end="\r", file=sys.stderr, flush=True)

    lm = load_model(name, dtype, device, progress=say)
    say(None, "")
    return lm


def _module_lines(rows: list[Treatment], as_wide_as: Sequence[Treatment] = ()) -> list[str]:
    wide = max((len(row.class_name) for row in (*rows, *as_wide_as)), default=0)
    lines = [f"{'module class':<{wide}}  count  how it is frozen"]
    for row in rows:
        where = f" [{row.example}]" if row.leaks else ""
        lines.append(f"{row.class_name:<{wide}}  {row.count:5}  {row.how}{where}")
    return lines


def _number_lines(measured: list[Measured]) -> list[str]:
    head = f"{'dtype':<9}{'gated path':<12}{'attention':<11}{'reconstruction':<16}{'bound':<9}{'forward':<10}"
    lines = [f"{head}{'bound':<9}exact"]
    for m in measured:
        e, (reconstruction, forward) = m.exactness, m.bounds
        lines.append(
            f"{e.dtype:<9}{share_text(m.convention.gated_path):<12}{share_text(m.convention.attention):<11}"
            f"{e.reconstruction:<16.2e}{reconstruction:<9.0e}{e.forward:<10.2e}"
            f"{forward:<9.0e}{'yes' if e.exact else 'NO'}"
        )
    return lines


def _settings(convention: Convention) -> str:
    gated = "" if convention.gated_path == "up" else f"gated_path={convention.gated_path!r}"
    attention = "" if convention.attention == "held" else f"attention={convention.attention!r}"
    return ", ".join(filter(None, (gated, attention)))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, in place of the usage and a message."""
        self.exit(2, f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.\n")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description=(__doc__ or "").partition(":")[2].strip())
    parser.add_argument("model", nargs="?", help=f"{bundled.NAME}, a preset, a hub id, a folder or a .gguf file")
    parser.add_argument("--prompt", help=f"default: {PROMPT!r}; fixed token ids for a model without a tokenizer")
    parser.add_argument("--token-ids", nargs="+", type=int, metavar="ID", help="in place of a prompt")
    parser.add_argument("--dtype", nargs="+", choices=[*DTYPES, four_bit.NAME], default=["float32", "float64"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--table", action="store_true", help="family x dtype x error over tiny random models")
    parser.add_argument("--all", action="store_true", help="every architecture of the installed transformers, tiny")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="with --all: keep what is found, and go on from there"
    )
    return parser
