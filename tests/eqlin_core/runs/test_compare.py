"""Two runs side by side: the differences sum to that of the totals, and what cannot be compared is said."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import eqlin_core as eq
from eqlin_core.runs.compare_spectra import read_change
from eqlin_core.runs.exactness import BOUNDS, Exactness
from eqlin_core.runs.prompt import RunKey, SpectrumRun, Target, TokenRun
from eqlin_core.runs.ranks import JointRun
from tests import profiles  # noqa: F401 - chosen when it is imported
from tests.pages import run_cases

TOKENS = st.lists(st.sampled_from(["The", " a", " b", " c"]), min_size=1, max_size=7)
SEEDS = st.integers(0, 10**6)
DTYPES = st.sampled_from(sorted(BOUNDS))


def made(tokens: list[str], seed: int = 0, dtype: str = "float64", missed: float = 0.0, width: int = 6) -> TokenRun:
    """A run whose parts miss its output by ``missed`` times what its dtype allows, all of it along the first target."""
    random = np.random.default_rng(seed)
    parts, bias, rows = (
        random.normal(size=(len(tokens), width)),
        random.normal(size=width),
        random.normal(size=(3, width)),
    )
    output = parts.sum(0) + bias
    size = missed * BOUNDS[dtype][0] * np.linalg.norm(output)
    output = output + size * rows[0] / np.linalg.norm(rows[0])
    names = ["The", " Paris", " Rome"]
    targets = [Target(i, names[i], rows[i], float(rows[i] @ output), 0.5 / (i + 1)) for i in range(3)]
    return TokenRun(
        key=RunKey("made-up", "0", dtype, tuple(range(len(tokens))), "up"),
        prompt="".join(tokens),
        device="cpu",
        width=width,
        n_layers=1,
        tokens=tokens,
        inputs=np.ones((len(tokens), width)),
        output=output,
        bias=bias,
        contributions=parts,
        targets=targets,
        exactness=Exactness(0.0, 0.0, dtype, True),
        bounds=BOUNDS[dtype],
        expected=rows.mean(0),
    )


def real(prompt: str) -> TokenRun:
    """A run of the default model."""
    from tests.cases import default_model

    return eq.token_run(eq.linearize(default_model("float32"), prompt), prompt)


@functools.cache
def marin(dtype: str) -> tuple[TokenRun, SpectrumRun]:
    """A run of the default model at the prompt of all tests, and its spectra; shared."""
    from tests.cases import MARIN, marin_map

    return eq.token_run(marin_map(dtype), MARIN), eq.spectrum_run(marin_map(dtype), 10)


def compared(a: tuple[TokenRun, SpectrumRun], b: tuple[TokenRun, SpectrumRun]) -> eq.RunComparison:
    return eq.compare_runs(a[0], b[0], spectra_a=a[1], spectra_b=b[1])


# ---- the accounting --------------------------------------------------------------------------------------------------


@given(first=TOKENS, second=TOKENS, seed=SEEDS, dtypes=st.tuples(DTYPES, DTYPES), missed=st.floats(-1, 1))
def test_all_differences_sum_to_that_of_the_totals_within_the_bound_of_both_dtypes(
    first: list[str], second: list[str], seed: int, dtypes: tuple[str, str], missed: float
) -> None:
    a, b = made(first, seed, dtypes[0], missed), made(second, seed + 1, dtypes[1], -missed)
    found = eq.compare_runs(a, b)
    size = np.abs(found.difference).sum() + 100
    assert found.difference.sum() + found.constant + found.remainder == pytest.approx(found.total, abs=1e-13 * size)
    assert found.total == pytest.approx(found.b.total - found.a.total)
    assert abs(found.remainder) <= found.bound
    assert np.nansum(found.terms_a) == pytest.approx(found.a.terms.sum(), abs=1e-13 * size)
    np.testing.assert_array_equal(np.isnan(found.terms_b), [j is None for _, j in found.rows])


@given(tokens=TOKENS, seed=SEEDS, dtype=DTYPES, missed=st.floats(5, 10))
def test_a_run_that_is_less_exact_than_its_dtype_allows_exceeds_the_bound(
    tokens: list[str], seed: int, dtype: str, missed: float
) -> None:
    good = made(tokens, seed, dtype)
    bad = made(tokens, seed, dtype, missed)
    assume(np.linalg.norm(good.output) > 1)
    found = eq.compare_runs(good, bad)
    assert abs(found.remainder) > found.bound


@given(first=TOKENS, second=TOKENS, seed=SEEDS)
def test_exchanged_runs_differ_by_the_opposite(first: list[str], second: list[str], seed: int) -> None:
    a, b = made(first, seed), made(second, seed + 1)
    there, back = eq.compare_runs(a, b), eq.compare_runs(b, a)
    np.testing.assert_array_equal(there.difference, -back.difference)
    assert (there.total, there.constant) == (-back.total, -back.constant)
    assert there.bound == back.bound


def test_a_run_compared_with_itself_differs_in_nothing() -> None:
    run = made(["The", " a"])
    found = eq.compare_runs(run, run)
    assert found.differs == []
    assert not found.difference.any()
    assert (found.total, found.constant, found.remainder) == (0, 0, 0)
    assert found.remarks == []


# ---- what is explained -----------------------------------------------------------------------------------------------


def test_each_run_explains_its_own_target_of_any_kind() -> None:
    a, b = made(["The"], 1), made(["The"], 2)
    found = eq.compare_runs(a, b, target_a=" Paris", target_b=2)
    assert (found.a.explained, found.b.explained) == (" Paris", " Rome")
    assert (found.a.total, found.b.total) == pytest.approx((a.targets[1].logit, b.targets[2].logit))
    assert found.differs == [("explained", "' Paris'", "' Rome'")]
    lead = eq.compare_runs(a, b, target_a=1, target_b=1, versus_a=2, versus_b=" Rome")
    assert lead.b.total == pytest.approx(b.targets[1].logit - b.targets[2].logit)
    assert lead.a.explained_words == "' Paris' over ' Rome'"
    likely = eq.compare_runs(a, b, kind="log-probability")
    assert a.expected is not None
    assert likely.a.total == pytest.approx(a.targets[0].logit - a.expected @ a.output)
    assert likely.a.split.words == "log-probability, baseline zero, up"


def test_a_target_of_another_prompt_brings_its_row_but_not_its_probability() -> None:
    a, b = made(["The"], 1), made(["The"], 2)
    elsewhere = Target(77, " Oslo", a.targets[0].row, 3.0, 0.9)
    found = eq.compare_runs(a, b, target_a=elsewhere, target_b=a.targets[1])
    assert found.a.probability is None
    assert found.missing["a.probability"].startswith("The probability of ' Oslo' is not known")
    assert found.b.total == pytest.approx(a.targets[1].row @ b.output)
    assert found.b.probability == b.targets[1].probability != a.targets[1].probability + 1
    assert found.a.predictions == [("The", 0.5), (" Paris", 0.25), (" Rome", 0.5 / 3)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_a": " Oslo"}, r"target_a is a Target, or the text or id of one of .*, not ' Oslo'\.$"),
        ({"versus_b": 99}, "versus_b is a Target"),
        ({"target_b": True}, "target_b is a Target"),
        ({"target_a": Target(0, "x", np.ones(5), 0.0, 0.0)}, r"target_a.row is an array \[6\]"),
        ({"leading": 0}, "leading is a whole number from 1 on"),
    ],
)
def test_what_a_run_does_not_hold_is_refused(options: dict, said: str) -> None:
    with pytest.raises(eq.EqlinError, match=said):
        eq.compare_runs(made(["The"]), made(["The"]), **options)


def test_runs_that_lack_what_is_asked_for_say_so() -> None:
    run = made(["The"])
    with pytest.raises(eq.EqlinError, match="no mean row of the unembedding"):
        eq.compare_runs(run, replace(run, expected=None), kind="log-probability")
    with pytest.raises(eq.EqlinError, match="no likely next tokens: pass a Target as target_b"):
        eq.compare_runs(run, replace(run, targets=[]))


# ---- what differs, what is missing -----------------------------------------------------------------------------------


def test_everything_that_two_runs_differ_in_is_listed() -> None:
    a = made(["The"])
    two = np.ones((2, 6))
    b = replace(a, key=replace(a.key, dtype="float32", gated_path="half", revision="1"), baseline="mean", device="cuda")
    b = replace(b, complete=False, exactness=None, prompt="The!", tokens=["The", "!"], contributions=two, inputs=two)
    found = eq.compare_runs(a, b)
    assert found.differs == [
        ("revision", "0", "1"),
        ("precision", "float64", "float32"),
        ("device", "cpu", "cuda"),
        ("prompt", "The", "The!"),
        ("length", "1 token", "2 tokens"),
        ("map", "up", "half"),
        ("baseline", "zero", "mean embedding"),
        ("state", "whole", "preview"),
    ]
    assert found.missing["b.exactness"] == "Run B is a preview, whose exactness is not measured yet."
    assert found.remarks[0].startswith("Two revisions of made-up are two models")
    assert found.b.exactness is None
    assert found.a.exactness == a.exactness


def test_runs_of_other_widths_and_tokenisers_are_compared_as_far_as_it_goes() -> None:
    from tests.eqlin_core.odd_calls import tiny_with_text

    lin = eq.linearize(tiny_with_text(), "The bridge")
    tiny = eq.token_run(lin, "The bridge"), eq.spectrum_run(lin, 4)
    found = compared(marin("float32"), tiny)
    assert (found.a.key.model, found.b.key.model) == ("smollm2-135m", "tiny llama")
    assert "smollm2-135m and tiny llama are two models" in found.remarks[0]
    assert found.remarks[1].startswith("Their tokenisers differ")
    assert abs(found.remainder) <= found.bound
    assert found.total == pytest.approx(tiny[0].targets[0].logit - marin("float32")[0].targets[0].logit)
    assert found.spectra is not None
    assert found.spectra.left_angles is None
    assert found.spectra.right_angles is None
    assert "in 576 and in 32 dimensions have no angle" in found.missing["spectra.left_angles"]
    assert found.missing["spectra.right_angles"] == found.missing["spectra.left_angles"]
    assert found.spectra.S_a.shape == found.spectra.S_b.shape == (len(found.spectra.pairs), 4)


def test_what_only_one_run_has_is_not_compared() -> None:
    run = run_cases.token_run()
    found = eq.compare_runs(run, run, spectra_a=run_cases.spectrum_run(run))
    assert found.spectra is None
    assert found.joint is None
    assert found.missing["spectra"] == "The spectra are compared where both runs have theirs."
    assert "all tokens' matrices together" in found.missing["joint"]


def test_spectra_of_another_map_are_refused() -> None:
    run = run_cases.token_run()
    spectra = run_cases.spectrum_run(run)
    other = replace(spectra, key=replace(spectra.key, gated_path="half"))
    with pytest.raises(eq.EqlinError, match="spectra_b is of another map than run b"):
        eq.compare_runs(run, run, spectra_a=spectra, spectra_b=other)


# ---- spectra ---------------------------------------------------------------------------------------------------------


def test_subspaces_of_a_turned_run_make_the_angle_that_it_was_turned_by() -> None:
    run = run_cases.token_run()
    spectra = run_cases.spectrum_run(run)
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    turn = np.eye(4)
    turn[np.ix_([1, 3], [1, 3])] = [[c, -s], [s, c]]  # the second of two vectors leaves their plane
    turned = replace(spectra, U=turn @ spectra.U, Vh=spectra.Vh @ turn.T, S=3 * spectra.S)
    found = eq.compare_runs(run, run, spectra_a=spectra, spectra_b=turned).spectra
    assert found is not None
    np.testing.assert_allclose(np.asarray(found.left_angles), [[0, 30]] * 2, atol=1e-10)
    np.testing.assert_allclose(np.asarray(found.right_angles), [[0, 30]] * 2, atol=1e-10)
    np.testing.assert_array_equal(found.S_b, 3 * found.S_a)
    first = eq.compare_runs(run, run, spectra_a=spectra, spectra_b=turned, leading=1).spectra
    assert first is not None
    np.testing.assert_allclose(np.asarray(first.left_angles), [[0]] * 2, atol=1e-10)


def test_tokens_whose_spectra_are_not_there_yet_are_left_out() -> None:
    run = run_cases.token_run()
    early, whole = run_cases.early_run(run, 1), run_cases.spectrum_run(run)
    found = eq.compare_runs(run, run, spectra_a=early, spectra_b=whole).spectra
    assert found is not None
    assert found.pairs == [(1, 1)]
    np.testing.assert_array_equal(found.S_a, whole.S[1:])
    none = eq.compare_runs(run, run, spectra_a=run_cases.early_run(run, 0), spectra_b=early).spectra
    assert none is not None
    assert none.pairs == []
    assert repr(none) == "SpectraComparison(0 tokens, the first 2 triplets)"


def test_joint_triplets_are_compared_by_what_they_write() -> None:
    run = run_cases.token_run()
    reads = [[(" a", 1.0), (" b", 0.5)], [(" c", 1.0)]]
    joint = JointRun(
        run.key, run.tokens, np.eye(4)[:, :2], np.array([2.0, 1.0]), np.eye(4)[:2], 1.25, np.full((2, 2), 0.5),
        np.ones((2, 2)), np.array([0, 1]), reads, reads,
    )  # fmt: skip
    other = replace(joint, U=np.eye(4)[:, [0, 3]], S=np.array([4.0, 1.0]), reads_u=[reads[1]])
    found = eq.compare_runs(run, run, joint_a=joint, joint_b=other).joint
    assert found is not None
    np.testing.assert_allclose(np.asarray(found.left_angles), [0, 90], atol=1e-12)
    assert found.S_b.tolist() == [4.0, 1.0]
    assert found.writes.vanish == {" a": (1, 1), " b": (1, 2)}
    assert found.writes.stay == {" c": ((2, 1), (1, 1))}
    assert found.reads.appear == found.reads.vanish == {}


def test_read_outs_come_go_and_stay_with_the_first_rank_that_they_have() -> None:
    before = [[("a", 3.0), ("b", 2.0)], [("b", 1.0), ("c", 0.5)]]
    after = [[("c", 3.0), ("d", 2.0)], [("a", 1.0), ("d", 0.5)]]
    found = read_change(before, after)
    assert found.vanish == {"b": (1, 2)}
    assert found.appear == {"d": (1, 2)}
    assert found.stay == {"a": ((1, 1), (2, 1)), "c": ((2, 2), (1, 1))}


# ---- the default model -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_prompts_of_the_default_model() -> None:
    france, italy = real("The capital of France is"), real("The capital of Italy is")
    found = eq.compare_runs(france, italy)
    assert found.tokens == [(t, t if t != " France" else " Italy") for t in france.tokens]
    assert (found.a.explained, found.b.explained) == (" Paris", " Rome")
    assert abs(found.remainder) < found.bound < 0.01
    assert int(np.argmax(found.difference)) == 3, "Italy adds more to Rome than France to Paris"
    assert [what for what, _, _ in found.differs] == ["prompt", "explained"]
    assert repr(found).startswith("RunComparison(5 rows, differs in prompt, explained, 17.37 to 16.51, remainder ")


def test_two_conventions_split_the_same_logit_otherwise() -> None:
    from tests.cases import MARIN, default_model, marin_map

    lin = eq.linearize(default_model("float32"), MARIN, gated_path="half", attention="half")
    found = eq.compare_runs(eq.token_run(marin_map("float32"), MARIN), eq.token_run(lin, MARIN))
    assert [what for what, _, _ in found.differs] == ["map"]
    assert abs(found.total) < found.bound
    assert abs(found.remainder) < found.bound
    assert np.abs(found.difference).max() > 100 * found.bound, "the terms are others"


@pytest.mark.slow
def test_two_precisions_agree_as_far_as_the_coarser_one_goes() -> None:
    found = compared(marin("float64"), marin("float32"))
    assert [what for what, _, _ in found.differs] == ["precision"]
    assert abs(found.remainder) < found.bound
    assert 1e-9 < np.abs(found.difference).max() < 1e-3
    assert found.spectra is not None
    assert found.spectra.left_angles is not None
    assert found.spectra.right_angles is not None
    np.testing.assert_allclose(found.spectra.S_b, found.spectra.S_a, rtol=1e-4)
    assert max(found.spectra.left_angles.max(), found.spectra.right_angles.max()) < 0.1


def test_comparing_needs_no_torch(tmp_path) -> None:
    import subprocess
    import sys

    eq.save_run(made(["The"]), tmp_path / "run.npz")
    program = (
        "import sys, eqlin_core as eq; run = eq.load_run(sys.argv[1]); eq.compare_runs(run, run); "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "run.npz"], check=False).returncode == 0
