"""A matrix reduced to a screen keeps what stands out; its lines, its file and its reconstruction are its own."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

import eqlin_core as eq
from eqlin_core.analysis import matrix as analysis
from eqlin_core.analysis.matrix import matrix_bytes, matrix_run, matrix_view, reconstruction, reduce_blocks
from eqlin_core.analysis.ranks import joint_run, rank_run
from tests.cases import PROMPT, llama


@pytest.fixture(scope="module")
def lin() -> eq.LinearMap:
    return eq.linearize(llama("affine"), token_ids=PROMPT)


@pytest.mark.parametrize(("shape", "most"), [((6, 6), 3), ((7, 5), 3), ((10, 4), 4), ((1, 9), 2)])
def test_a_cell_is_the_entry_of_largest_size_in_its_block_with_its_sign(shape: tuple[int, int], most: int) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    cells, (height, width) = reduce_blocks(matrix, most)
    assert max(cells.shape) <= most
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            block = matrix[i * height : (i + 1) * height, j * width : (j + 1) * width].flatten()
            assert cell == block[block.abs().argmax()]


def test_a_matrix_that_fits_is_not_reduced() -> None:
    matrix = torch.randn(3, 4)
    cells, block = reduce_blocks(matrix, 4)
    assert torch.equal(cells, matrix)
    assert block == (1, 1)


def test_one_entry_that_stands_out_is_seen_in_a_large_matrix() -> None:
    matrix = torch.zeros(2000, 1500)
    matrix[1234, 567] = -3.0
    cells, (height, width) = reduce_blocks(matrix, analysis.CELLS)
    assert cells[1234 // height, 567 // width] == -3.0
    assert cells.count_nonzero() == 1


def test_a_smaller_window_is_shown_in_finer_blocks(lin: eq.LinearMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "CELLS", 8)
    whole, part = matrix_view(lin, 3), matrix_view(lin, 3, (8, 24), (4, 10))
    assert (whole.block, whole.cells.shape) == ((4, 4), (8, 8))
    assert (part.block, part.cells.shape) == ((2, 1), (8, 6))
    assert part.cells[0, 0] == pytest.approx(max(lin.jacobian()[3, 8:10, 4].tolist(), key=abs))
    assert whole.cells.dtype == np.float32


@pytest.mark.parametrize(("rows", "columns"), [((0, 33), None), ((5, 5), None), (None, (-1, 4))])
def test_a_window_outside_the_matrix_is_refused(lin: eq.LinearMap, rows: object, columns: object) -> None:
    with pytest.raises(eq.EqlinError, match="do not exist: choose from 0 to 31"):
        matrix_view(lin, 0, rows, columns)  # type: ignore[arg-type]


def test_a_token_that_the_prompt_has_not_is_refused(lin: eq.LinearMap) -> None:
    with pytest.raises(eq.EqlinError, match="Token 11 does not exist: the prompt has 11 tokens"):
        matrix_run(lin, 11)


def test_the_largest_lines_are_read_with_the_sign_that_they_have_here(lin: eq.LinearMap) -> None:
    run = matrix_run(lin, 2)
    matrix, x = lin.jacobian()[2], lin.inputs[2]
    np.testing.assert_allclose(run.column_norms, matrix.norm(dim=0))
    np.testing.assert_allclose(run.row_norms, matrix.norm(dim=1))
    assert [line.index for line in run.columns] == matrix.norm(dim=0).topk(8).indices.tolist()
    assert (run.columns[0].norm, run.largest) == (pytest.approx(run.column_norms.max()), float(matrix.abs().max()))
    assert 0 < run.limit <= run.largest
    for line in run.columns:
        (reads,) = eq.read_output(lin.lm, matrix[:, line.index] * x[line.index], 3)
        assert [token for token, _ in line.reads[:3]] == [token for token, _ in reads]
    for line in run.rows:
        row = matrix[line.index]
        (reads,) = eq.read_input(lin.lm, row * (row @ x), 3)
        assert [token for token, _ in line.reads[:3]] == [token for token, _ in reads]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_file_holds_the_exact_matrix(dtype: torch.dtype) -> None:
    lin = eq.linearize(llama("grouped", dtype), token_ids=PROMPT[:3])
    loaded = np.load(io.BytesIO(matrix_bytes(lin, 1)))
    assert torch.equal(torch.from_numpy(loaded).to(dtype), lin.jacobian()[1])


def test_a_reconstruction_says_which_rules_were_on_and_what_came_of_it(lin: eq.LinearMap) -> None:
    every, none = reconstruction(lin, ("gates", "norms", "attention")), reconstruction(lin, ())
    assert (every.frozen, every.exact, none.frozen, none.exact) == (("attention", "norms", "gates"), True, (), False)
    np.testing.assert_allclose(every.reconstructed, every.output, atol=1e-12)
    size = np.linalg.norm(none.output)
    assert np.linalg.norm(none.reconstructed - none.output) / size == pytest.approx(none.error)


def test_the_joint_triplets_read_from_tokens_in_parts_that_sum_to_one(lin: eq.LinearMap) -> None:
    run = joint_run(lin, 6)
    found = eq.spectrum(lin, 6, joint=True)
    np.testing.assert_allclose(run.weights.sum(1), 1.0)
    np.testing.assert_allclose(run.projections.sum(1), found.Vh @ lin.inputs.flatten(), atol=1e-12)
    for k in range(6):
        part = found.Vh[k].reshape(lin.inputs.shape)[int(run.main[k])]
        np.testing.assert_allclose(run.V[k], part)
        assert run.weights[k].max() == pytest.approx(float(part.square().sum()))
    assert len(run.reads_u) == len(run.reads_v) == 6


@pytest.mark.parametrize("joint", [False, True])
def test_a_rank_run_is_the_truncation_in_numbers(lin: eq.LinearMap, joint: bool) -> None:
    few, every = rank_run(lin, 5, joint=joint), rank_run(lin, 5, joint=joint, every=True)
    assert (few.largest, every.largest) == (5, 32)
    np.testing.assert_allclose(few.divergence, every.divergence[:6], atol=1e-9)
    np.testing.assert_allclose(few.chances, every.chances[:6], atol=1e-9)
    found = eq.truncate(lin, eq.spectrum(lin, 5, joint=joint))
    np.testing.assert_allclose(few.error, found.error)
    assert every.chances[-1] == pytest.approx(every.true_top[0][1])
