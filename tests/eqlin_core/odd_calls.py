"""Every public function and method with odd arguments: what is refused in a sentence, what is taken, what escapes raw.

`python -m tests.eqlin_core.odd_calls` tries every odd value in the place of every argument and prints the count. It
runs without the suite's checks of types: a user has none, and the engine itself has to say what is wrong.
"""

from __future__ import annotations

import contextlib
import decimal
import inspect
import io
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eqlin_core as eq
from eqlin_core import figures


@dataclass(frozen=True)
class Call:
    """A public function with arguments that are right; ``leaves`` are those of its arguments that are not tried."""

    name: str
    function: Callable[..., Any]
    good: dict[str, Any] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()

    def __repr__(self) -> str:  # without its arguments, which hold whole runs
        return f"Call({self.name!r})"

    @property
    def arguments(self) -> list[str]:
        """The names of the arguments that odd values take the place of."""
        return [name for name in inspect.signature(self.function).parameters if name not in self.leaves]

    def outcome(self, argument: str, value: Any) -> str:
        """ "refused", "taken", or the raw exception's kind, with ``value`` in the place of the argument."""
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                self.function(**{**self.good, argument: value})
        except eq.EqlinError as error:
            return "refused" if is_sentence(str(error)) else f"no sentence: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "taken"


def is_sentence(text: str) -> bool:
    """Whether an error reads as one short line that ends as a sentence does."""
    return "\n" not in text and text.endswith((".", ").")) and len(text) < 400 and text.isprintable()


class Unprintable:
    """Something whose own text cannot be made."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def odd_values() -> dict[str, Any]:
    """What people and programs pass by mistake, by the name that a report gives it."""
    nan = float("nan")
    return {
        "None": None,
        "True": True,
        "-1": -1,
        "0": 0,
        "1": 1,
        "a million": 10**6,
        "-a million": -(10**6),
        "10**30": 10**30,
        "1.5": 1.5,
        "2.0": 2.0,
        "nan": nan,
        "inf": float("inf"),
        "1e308": 1e308,
        "empty text": "",
        "text": "abc",
        "half a surrogate pair": "the \ud83d",
        "NUL": "a\0b",
        "long text": "ab " * 5000,
        "bytes": b"abc",
        "empty list": [],
        "list of 1.5": [1.5],
        "list of True": [True],
        "list of -1": [-1],
        "list of 10**30": [10**30],
        "list of text": ["a", "\ud83d"],
        "list of None": [None],
        "nested list": [[1, 2], [3]],
        "dict": {"a": 1},
        "object": object(),
        "unprintable": Unprintable(),
        "class": int,
        "complex": 1j,
        "Decimal NaN": decimal.Decimal("NaN"),
        "NumPy nan": np.float32(nan),
        "NumPy integers": np.arange(3),
        "NumPy objects": np.array([None, "a"], dtype=object),
        "empty tensor": torch.zeros(0),
        "tensor of 3": torch.zeros(3),
        "tensor 2 x 32": torch.zeros(2, 32),
        "complex tensor": torch.zeros(2, 32, dtype=torch.complex64),
        "truths": torch.zeros(2, 32, dtype=torch.bool),
        "meta tensor": torch.zeros(2, 32, device="meta"),
        "sparse tensor": torch.zeros(2, 32).to_sparse(),
        "scalar tensor": torch.tensor(2),
        "dtype": torch.int8,
        "device": torch.device("meta"),
        "missing path": Path("no/such/folder/file"),
        "folder": Path(tempfile.gettempdir()),
        "site": eq.Site(1, "mlp"),
    }


def tiny_with_text() -> eq.LanguageModel:
    """The tiny random Llama with a tokenizer that reads every text."""
    from eqlin_core.audit.families import tiny_model
    from tests.eqlin_core.models.model_cases import byte_level_tokenizer

    lm = tiny_model("llama", torch.float64, vocab_size=300)
    lm.tokenizer = byte_level_tokenizer()
    return lm


def tiny_with_chat() -> eq.LanguageModel:
    """The same with a chat template."""
    lm = tiny_with_text()
    assert lm.tokenizer is not None
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}:"
    return lm


def calls(folder: Path) -> list[Call]:
    """All of ``eqlin_core.__all__`` that takes arguments, and the methods of what it returns."""
    lm = tiny_with_text()
    lin = eq.linearize(lm, "the bridge")
    w = lm.unembedding[:2].clone()
    operator = eq.steering_operator(lm, "the", 2)
    operator.save(folder / "operator.safetensors")
    swapped = [*lin.token_ids[:-1], 7]
    together = eq.linearize_together(lm, ["the", " the"])
    many = eq.run_study(["the"], lm, folder / "study")
    run, spectra = eq.token_run(lin, "the bridge"), eq.spectrum_run(lin, 2)
    eq.save_run(run, folder / "run.npz")
    eq.write_report(folder / "run.html", run)
    shown = {"run": run, "spectra": spectra, "compared_with": run, "compared_spectra": spectra}
    lm.model.save_pretrained(folder / "model")
    chart = figures.norms_and_cosines(run)
    sweep = eq.layer_sweep(lm, "the", k=2)
    study = eq.faithfulness(lm, ["the bridge the"], [], ks=[1])
    partly = eq.partly_frozen(lin, ["norms"])
    steered = {"lm": lm, "prompt": "the", "operator": operator, "max_new_tokens": 2}
    chatting, chat = tiny_with_chat(), [{"role": "user", "content": "the"}]
    text = eq.read_text(lm, "the", answer=" bridge")
    answered = eq.linearize(lm, token_ids=text.token_ids)
    last = [len(text.token_ids) - 1]
    lens = eq.fit_lens(lm, ["the bridge the"], skip=1)
    lens.save(folder / "lens.safetensors")
    lensed = eq.read_lens(lm, "the")
    return [
        Call("load_model", eq.load_model, {"name": folder / "model"}),
        Call("LanguageModel.wrap", eq.LanguageModel.wrap, {"model": lm.model, "tokenizer": lm.tokenizer}),
        Call("LanguageModel.from_model", eq.LanguageModel.from_model, {"model": lm.model, "tokenizer": lm.tokenizer}),
        Call("lm.encode", lm.encode, {"prompt": "the"}),
        Call("lm.token_strings", lm.token_strings, {"ids": [1, 2]}),
        Call("read_input", eq.read_input, {"lm": lm, "vectors": w}),
        Call("read_output", eq.read_output, {"lm": lm, "vectors": w}),
        Call("Site", lambda layer, kind: eq.linearize(lm, "the", target=eq.Site(layer, kind)),
             {"layer": 1, "kind": "mlp"}),
        Call("linearize", eq.linearize, {"lm": lm, "prompt": "the bridge"}),
        Call("linearize ids", eq.linearize, {"lm": lm, "token_ids": [5, 6, 7]}, ("prompt",)),
        Call("linearize a chat", lambda chat: eq.linearize(chatting, chat=chat), {"chat": chat}),
        Call("linearize a message",
             lambda role, content: eq.linearize(chatting, chat=[{"role": role, "content": content}]),
             {"role": "user", "content": "the"}),
        Call("lin.positions", lin.positions, {"positions": [0, -1]}),
        Call("lin.seen_from", lin.seen_from, {"u": w, "positions": [0, -1]}),
        Call("lin.apply", lin.apply, {"v": lin.inputs}),
        Call("lin.adjoint", lin.adjoint, {"u": lin.output}),
        Call("lin.contributions", lambda progress: eq.linearize(lm, "the").contributions(progress), {"progress": None}),
        Call("lin.jacobian", lambda progress: eq.linearize(lm, "the").jacobian(progress), {"progress": None}),
        Call("lin.against", lin.against, {"baseline": "mean"}),
        Call("lin.logit_split", lin.logit_split, {"directions": w}),
        Call("lin.baseline", lin.baseline, {"given": "mean"}),
        Call("read_text", eq.read_text, {"lm": lm, "prompt": "the", "answer": " bridge"}),
        Call("read_text of a chat", eq.read_text, {"lm": chatting, "chat": chat}, ("prompt", "token_ids")),
        Call("read_text of ids", eq.read_text, {"lm": lm, "token_ids": [5, 6]}, ("prompt", "chat")),
        Call("read_chat", eq.read_chat, {"written": "user: the"}),
        Call("write_chat", eq.write_chat, {"chat": chat}),
        Call("answer_split", eq.answer_split, {"lin": answered, "first": text.first}),
        Call("plan_answer", eq.plan_answer, {"lm": lm, "tokens": 5, "rows": 2}),
        Call("group_deletion", eq.group_deletion,
             {"lm": lm, "token_ids": text.token_ids, "first": text.first, "groups": [[0], last]}),
        Call("group_deletion of one",
             lambda group, deletion: eq.group_deletion(lm, text.token_ids, text.first, [group], deletion),
             {"group": last, "deletion": "removal"}),
        Call("answer_run", eq.answer_run, {"lin": answered, "text": text}),
        Call("continue_text", eq.continue_text, {"lm": lm, "prompt": "the", "max_new_tokens": 2},
             ("token_ids", "chat")),
        Call("continue_text of a chat", eq.continue_text, {"lm": chatting, "chat": chat, "max_new_tokens": 2},
             ("prompt", "token_ids", "temperature", "top_p", "seed")),
        Call("groups_of", eq.groups_of, {"text": eq.answer_run(answered, text).text, "by": "word"}),
        Call("Convention", eq.Convention),
        Call("direction", eq.direction, {"lin": lin, "token": 5}),
        Call("ordinary_jacobian", eq.ordinary_jacobian, {"lm": lm, "prompt": "the"}),
        Call("partly_frozen", eq.partly_frozen, {"lin": lin, "frozen": ["norms"]}),
        Call("partly.jacobian", partly.jacobian),
        Call("precision_check", eq.precision_check, {"lin": lin}),
        Call("plan_run", eq.plan_run, {"lm": lm, "tokens": 5}),
        Call("spectrum", eq.spectrum, {"lin": lin, "k": 2}),
        Call("top_triplets", eq.top_triplets, {"lin": lin, "k": 2}),
        Call("truncate", eq.truncate, {"lin": lin}),
        Call("layer_sweep", eq.layer_sweep, {"lm": lm, "prompt": "the", "k": 1}),
        Call("sweep.read_u", sweep.read_u, {"layer": 0, "kind": "mlp", "token": 0}),
        Call("sweep.read_v", sweep.read_v, {"layer": 0, "kind": "mlp", "token": 0}),
        Call("sweep.first_layers", sweep.first_layers, {"token_id": 5}),
        Call("sweep.kind_index", sweep.kind_index, {"kind": "mlp"}),
        Call("direct_contributions", eq.direct_contributions, {"lin": lin, "directions": w}),
        Call("head_contributions", eq.head_contributions, {"lin": lin, "directions": w}),
        Call("fit_lens", eq.fit_lens, {"lm": lm, "prompts": ["the bridge the"], "skip": 1}),
        Call("merge_lenses", eq.merge_lenses, {"lenses": [lens, lens]}),
        Call("load_lens", eq.load_lens, {"path": folder / "lens.safetensors", "lm": lm}),
        Call("lens.save", lens.save, {"path": folder / "again.lens"}),
        Call("lens.transport", lens.transport, {"layer": 0, "h": w}),
        Call("lens.adjoint", lens.adjoint, {"layer": 0, "w": w}),
        Call("lens.require_fit", lens.require_fit, {"lm": lm}),
        Call("read_lens", eq.read_lens, {"lm": lm, "prompt": "the", "lens": lens, "tokens": [5]}),
        Call("lensed.top", lensed.top, {"layer": 0}),
        Call("lens_cosines", eq.lens_cosines, {"lm": lm, "lens": lens, "prompt": "the", "token": 5}),
        Call("Split", eq.Split),
        Call("faithfulness", eq.faithfulness, {"lm": lm, "prompts": ["the bridge"], "methods": [], "ks": [1]}),
        Call("study.of", study.of, {"measure": "rank", "method": "leave-one-out"}),
        Call("study.mean", study.mean, {"measure": "rank", "method": "leave-one-out"}),
        Call("study.interval", study.interval, {"measure": "rank", "method": "leave-one-out"}),
        Call("study.difference", study.difference,
             {"measure": "rank", "method": "leave-one-out", "other": "leave-one-out"}),
        Call("study.best", study.best, {"measure": "rank", "exact": False}),
        Call("study.only", study.only, {"kind": ""}),
        Call("Faithfulness.from_json", eq.Faithfulness.from_json, {"text": study.to_json()}),
        Call("prompt_list", eq.prompt_list, {"name": "facts"}),
        Call("linearize_together", eq.linearize_together, {"lm": lm, "prompts": ["the", " the"]}),
        Call("together.contributions", together.contributions),
        Call("together.logit_split", together.logit_split, {"directions": w[None].expand(2, 2, -1)}),
        Call("study_prompts", eq.study_prompts, {"prompts": ["the"]}),
        Call("run_study", eq.run_study, {"prompts": ["the"], "models": lm, "out": folder / "studied", "k": 1}),
        Call("plan_study", eq.plan_study, {"prompts": ["the"], "lm": lm, "measures": ["exactness"], "k": 1}),
        Call("load_study", eq.load_study, {"folder": folder / "study"}),
        Call("many.table", many.table, {"name": "tokens"}),
        Call("RayWorkers", eq.RayWorkers),
        Call("hidden_effects", eq.hidden_effects, {"lin": lin, "directions": w}),
        Call("validity", eq.validity, {"lin": lin, "position": 0, "towards": 5, "points": 2}),
        Call("counterfactual", eq.counterfactual, {"lin": lin, "other": swapped, "directions": w}),
        Call("steering_operator", eq.steering_operator, {"lm": lm, "concept": "the", "layers": 2}),
        Call("operator.save", operator.save, {"path": folder / "again.safetensors"}),
        Call("operator.require_fit", operator.require_fit, {"lm": lm}),
        Call("load_operator", eq.load_operator, {"path": folder / "operator.safetensors", "lm": lm}),
        Call("operator_angle", eq.operator_angle, {"first": operator, "second": operator}),
        Call("random_operator", eq.random_operator, {"operator": operator}),
        Call("steer", eq.steer, steered),
        Call("steer by chance", eq.steer, {**steered, "temperature": 1.0, "seed": 3}, ("lm", "prompt", "operator")),
        Call("steering_sweep", eq.steering_sweep, {**steered, "strengths": [0.0, 1.0]}),
        Call("flip_strength", eq.flip_strength,
             {"lm": lm, "prompt": "the", "operator": operator, "token": 5, "tolerance": 0.1}),
        Call("token_run", eq.token_run, {"lin": lin, "prompt": "the bridge"}),
        Call("spectrum_run", eq.spectrum_run, {"lin": lin, "k": 2}),
        Call("joint_run", eq.joint_run, {"lin": lin, "k": 2}),
        Call("run.split", run.split, {"direction": run.output}),
        Call("spectra.shares", spectra.shares, {"token": 0, "direction": run.output}),
        Call("save_run", eq.save_run, {"run": run, "path": folder / "again.npz"}),
        Call("load_run", eq.load_run, {"path": folder / "run.npz"}),
        Call("compare_runs", eq.compare_runs, {"a": run, "b": run, "spectra_a": spectra, "spectra_b": spectra}),
        Call("write_report", eq.write_report, {"path": folder / "again.html", **shown}),
        Call("report_html", eq.report_html, shown),
        Call("read_report", eq.read_report, {"path": folder / "run.html"}),
        Call("verify_run", eq.verify_run, {"run": run, "lm": lm}),
        Call("weights_of", eq.weights_of, {"lm": lm}),
        Call("save_figure", eq.save_figure, {"chart": chart, "path": folder / "x.gif"}),
        Call("provenance_of", eq.provenance_of, {"run": run}),
        Call("View", eq.View, {"page": "tokens", "prompt": "the"}),
        Call("page_code", eq.page_code, {"view": eq.View("tokens", "the")}),
        Call("page_notebook", eq.page_notebook, {"view": eq.View("tokens", "the")}),
        Call("principal_angles", eq.principal_angles, {"first": spectra.U[0], "second": spectra.U[1]}),
    ]  # fmt: skip


def outcomes(every: int = 1) -> Iterator[tuple[str, str]]:
    """(what was called with what, its outcome) of every ``every``-th odd call."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"HF_HUB_OFFLINE": "1", "EQLIN_CACHE": str(folder / "cache")}
        os.chdir(folder)  # an odd path is not made where somebody works
        try:
            n = 0
            for call in calls(folder):
                for argument in call.arguments:
                    for label, value in odd_values().items():
                        n += 1
                        if n % every == 0:
                            yield f"{call.name}({argument}={label})", call.outcome(argument, value)
        finally:
            os.chdir(before)


def main(every: int = 1, shown: int = 20) -> int:
    """Print how many odd calls end in which way, and the raw ones; 0 when there is none of these."""
    counted: Counter[str] = Counter()
    raw = []
    for what, outcome in outcomes(every):
        counted[outcome if outcome in ("refused", "taken") else "raw"] += 1
        if outcome == "taken" and "-v" in sys.argv:
            print(ascii(what))
        if outcome not in ("refused", "taken"):
            raw.append(ascii(f"{what}: {outcome.splitlines()[0][:150]}")[1:-1])
    print("\n".join(raw[:shown]))
    total = sum(counted.values())
    print(f"{total} odd calls: {counted['refused']} refused, {counted['taken']} taken, {counted['raw']} raw")
    return min(1, len(raw))


if __name__ == "__main__":
    sys.exit(main(*map(int, filter(str.isdigit, sys.argv[1:]))))
