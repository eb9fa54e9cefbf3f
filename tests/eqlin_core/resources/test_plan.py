"""The plan of a run against what the run then takes, and what is refused before it starts."""

import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.resources import budget, plan
from eqlin_core.runs.convention import Convention
from tests.benchmarks.measure import peak_memory
from tests.benchmarks.scale import shaped
from tests.cases import PROMPT, default_model, llama

CPU = torch.device("cpu")
GIB = 2**30
WORDS = "The bridge out of Marin is the longest in the world and was built by people who loved the sea. "


@pytest.mark.slow
def test_the_peak_of_a_run_stays_near_its_plan() -> None:
    # In a process of its own: in this one the heap has the holes that all the tests before have left.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        planned, peak, matrix_bytes = fresh.submit(planned_and_taken).result(timeout=300)
    assert peak <= 1.3 * planned.host_bytes
    assert planned.host_bytes <= 3 * peak, "a plan that promises anything is no plan"
    assert matrix_bytes == planned.matrix_bytes
    assert planned.place == "device"


def planned_and_taken() -> tuple[plan.Plan, int, int]:
    """A run's plan, its peak in bytes, and the bytes of its matrices."""
    lm = default_model("float32")
    ids = lm.encode(WORDS)[:12]
    eq.linearize(lm, token_ids=ids[:3]).jacobian()  # what is loaded on first use is no part of a run
    planned = plan.plan_run(lm, len(ids))
    with peak_memory() as peak:
        lin = eq.linearize(lm, token_ids=ids)
        lin.contributions()
        lin.jacobian()
        eq.spectrum(lin, 8)
    return planned, peak[0], lin.jacobian().numel() * 4


def test_the_plan_grows_with_the_tokens_and_says_so_in_one_line() -> None:
    lm = default_model("float32")
    plans = [plan.plan_run(lm, tokens) for tokens in (7, 70, 400)]
    assert [p.matrix_bytes for p in plans] == [4 * 576**2 * p.tokens for p in plans]
    for few, many in itertools.pairwise(plans):
        assert few.host_bytes < many.host_bytes
        assert few.seconds < many.seconds
        assert few.chunk > many.chunk
    assert plans[2].sentence().startswith("Plan for 400 tokens: about ")
    assert "\n" not in plans[2].sentence()


def test_what_is_not_held_is_in_the_plan() -> None:
    lm = default_model("float32")
    held = plan.plan_run(lm, 300, memory_budget=GIB)
    half = plan.plan_run(lm, 300, Convention("half"), memory_budget=GIB)
    live = plan.plan_run(lm, 300, Convention("half", "half"), memory_budget=GIB)
    assert 1.3 * held.seconds < half.seconds < 1.5 * held.seconds, "the gate's projection"
    assert 1.2 * half.seconds < live.seconds, "queries, keys and scores"
    assert plan.plan_run(lm, 300, Convention("gate")).seconds == pytest.approx(held.seconds), "one factor is held"
    assert live.working_bytes > 1.5 * half.working_bytes == 1.5 * held.working_bytes, "each row has scores of its own"


def test_a_pass_that_nobody_can_interrupt_ends_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = default_model("float32")
    weights = plan.path_weights(lm, Convention("half", "half"))
    assert 100e6 < weights < 110e6, "all but the embeddings"
    monkeypatch.setattr(plan, "product_rate", lambda *of: 2 * weights * 1000 / 0.7)  # 1000 positions in its time
    assert plan.pass_rows(lm, 100, CPU) == 10
    assert plan.pass_rows(lm, 5000, CPU, memory_budget=GIB) == 1
    monkeypatch.setattr(plan, "product_rate", lambda *of: 1.0)
    assert plan.pass_rows(lm, 6, CPU) == 21, "however slow it seemed"
    monkeypatch.setattr(plan, "product_rate", lambda *of: 1e18)
    assert plan.pass_rows(lm, 6, CPU) == plan.chunk_rows(lm, 6, CPU)


def test_a_small_budget_puts_the_matrix_in_a_scratch_file_and_changes_no_number() -> None:
    wide = eq.linearize(llama(), token_ids=PROMPT)
    narrow = eq.linearize(llama(), token_ids=PROMPT, memory_budget=100)
    assert plan.plan_run(llama(), len(PROMPT), memory_budget=100).place == "scratch file"
    torch.testing.assert_close(narrow.jacobian(), wide.jacobian(), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(eq.spectrum(narrow, 3).S, eq.spectrum(wide, 3).S, rtol=1e-10, atol=0)
    torch.testing.assert_close(eq.spectrum(narrow, 3, joint=True).S, eq.spectrum(wide, 3, joint=True).S)
    assert narrow.exactness().exact


def test_what_cannot_fit_is_refused_at_once_with_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = default_model("float32")
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: 2**28)
    with pytest.raises(eq.EqlinError, match=r"4000 tokens in float32 need .* GiB and .* are free on cpu; a prompt of"):
        plan.plan_run(lm, 4000)
    with pytest.raises(eq.EqlinError, match=r"a prompt of (\d+) tokens fits"):
        eq.linearize(lm, token_ids=[5] * 2000)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_running_out_of_memory_halves_the_chunk_and_goes_on(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    expected = eq.linearize(llama(), token_ids=PROMPT).jacobian()
    reverse, sizes = lin._reverse, []

    def small_only(u: torch.Tensor) -> torch.Tensor:
        sizes.append(len(u))
        if len(u) > 5:
            raise error
        return reverse(u)

    monkeypatch.setattr(lin, "_reverse", small_only)
    torch.testing.assert_close(lin.jacobian(), expected, rtol=1e-12, atol=1e-13)
    assert sizes[:4] == [32, 16, 8, 4]
    assert set(sizes[3:]) == {4}


def test_rows_with_scores_of_their_own_are_fewer_at_a_time() -> None:
    lm = llama()
    assert plan.chunk_rows(lm, 50, CPU, 2**22, live=True) < plan.chunk_rows(lm, 50, CPU, 2**22)
    live = eq.linearize(lm, token_ids=PROMPT, attention="half", memory_budget=2**20)
    held = eq.linearize(lm, token_ids=PROMPT, memory_budget=2**20)
    assert live._chunk() < held._chunk()


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(start: int, stop: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        budget.in_chunks(8, 4, broken)


def test_no_memory_for_a_single_row_is_said() -> None:
    def hungry(start: int, stop: int) -> None:
        raise MemoryError

    with pytest.raises(eq.EqlinError, match="does not suffice for one row"):
        budget.in_chunks(8, 4, hungry)


def test_a_device_hands_its_matrix_to_main_memory_and_that_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"cuda": 8 * GIB, "cpu": 32 * GIB}
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: free[device.type])
    monkeypatch.setattr("eqlin_core.resources.plan.free_disk", lambda: 100 * GIB)
    cuda = torch.device("cuda")
    assert plan.matrix_place(2 * GIB, cuda) == "device"
    assert plan.matrix_place(10 * GIB, cuda) == "host"
    assert plan.matrix_place(40 * GIB, cuda) == "scratch file"
    assert plan.matrix_place(40 * GIB, CPU) == "scratch file"
    with pytest.raises(eq.EqlinError, match="which need no matrix"):
        plan.matrix_place(400 * GIB, CPU)


def test_refining_is_planned_where_a_lower_precision_is_fast_and_the_prompt_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm, gpu = default_model("float32"), torch.device("cuda")
    rates = {torch.float32: 1.0, torch.bfloat16: 10.0}
    monkeypatch.setattr(plan, "product_rate", lambda device, dtype: rates[dtype])
    # 24 triplets of a token take 135 passes, over half of the prompt on average; 576 rows save nine tenths each
    assert [plan.refining_is_cheaper(lm, tokens, gpu) for tokens in (1, 6, 7, 100)] == [True, True, False, False]
    assert plan.refining_is_cheaper(lm, 40, gpu, k=1)
    rates[torch.bfloat16] = 1.5
    assert not plan.refining_is_cheaper(lm, 6, gpu)
    assert not plan.refining_is_cheaper(lm, 1, CPU)
    assert not plan.refining_is_cheaper(tiny_model("llama", torch.bfloat16), 1, gpu)
    assert plan.plan_run(lm, 1).spectra == "direct"


def test_refining_is_not_planned_on_a_fast_card_where_it_was_measured_to_be_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = torch.device("cuda")
    rates = {torch.float64: 60e12, torch.float32: 50e12, torch.bfloat16: 700e12}  # about those of an H200
    monkeypatch.setattr(plan, "product_rate", lambda device, dtype: rates[dtype])
    for shape, dtype in (("llama-3.2-3b", "float32"), ("llama-3.2-3b", "float64"), ("qwen3-8b", "float32")):
        assert not plan.refining_is_cheaper(shaped(shape, dtype, "meta"), 8, gpu), (shape, dtype)
    rates |= {torch.float64: 1e12}  # a card that has hardly any float64
    assert plan.refining_is_cheaper(shaped("llama-3.2-3b", "float64", "meta"), 8, gpu)
