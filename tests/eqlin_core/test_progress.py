"""``progress=True`` draws a bar in a terminal or a notebook; nothing is drawn that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from eqlin_core.errors import Cancelled
from eqlin_core.progress import part, report, shown


def test_a_stretch_of_the_work_is_told_as_its_part_of_the_whole() -> None:
    seen: list[tuple[float | None, str]] = []

    def listen(fraction: float | None, message: str) -> None:
        seen.append((fraction, message))

    second_half = part(listen, 0.5, 1.0)
    report(second_half, 0.5, "Matrix")
    report(second_half, None, "Waiting")
    report(part(listen, 0.0, 0.1, "One word for all of it"), 1.0, "Matrix")
    assert seen == [(0.75, "Matrix"), (None, "Waiting"), (0.1, "One word for all of it")]
    assert part(None, 0.0, 0.5) is None
    report(None, 0.5, "nobody listens")


def test_whoever_answers_false_ends_the_work_in_a_stretch_too() -> None:
    with pytest.raises(Cancelled):
        report(part(lambda fraction, message: False, 0.0, 0.5), 0.1, "Matrix")


def test_what_is_not_true_is_passed_on() -> None:
    def listen(fraction: float | None, message: str) -> None: ...

    for given, told in [(None, None), (False, None), (listen, listen)]:
        with shown(given) as found:
            assert found is told


def test_a_bar_stands_at_the_last_fraction_and_names_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(True) as told:
        assert told is not None
        told(None, "Fetching")
        told(0.25, "Reading")
        assert "Reading  25%|" in capsys.readouterr().err
        told(None, "Waiting")
        assert "Waiting  25%|" in capsys.readouterr().err
        told(1.0 + 1e-9, "Done")
    shown_last = capsys.readouterr().err
    assert "Done 100%|" in shown_last
    assert shown_last.endswith("\n"), "the bar is closed"


def test_a_bar_is_closed_when_the_work_ends_early(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Cancelled), shown(True) as told:
        assert told is not None
        told(0.5, "Half way")
        raise Cancelled
    drawn = capsys.readouterr().err
    assert "Half way  50%|" in drawn
    assert drawn.endswith("\n")


def test_the_long_computations_draw_a_bar_on_request_and_nothing_otherwise(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import eqlin_core as eq

    def work(progress: bool | None) -> str:
        lm = eq.load_model(folder, "float64", progress=progress)
        eq.linearize(lm, token_ids=[3, 9, 4]).jacobian(progress)
        eq.layer_sweep(lm, token_ids=[3, 9, 4], k=2, progress=progress)
        printed, drawn = capfd.readouterr()
        assert printed == ""
        return drawn

    assert work(None) == ""
    assert work(False) == ""
    drawn = work(True)
    for message in ("Reading", "Matrix", "Layers"):
        assert message in drawn
    assert drawn.count("100%|") >= 2
