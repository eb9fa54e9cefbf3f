"""``eqlin run``: the analysis of one prompt in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

Precision = Literal["float32", "float64", "bfloat16", "float16", "4bit"]


def run(
    model: Annotated[
        str, typer.Argument(help="smollm2-135m, a preset, a hub id, a folder or a .gguf file.", show_default=False)
    ],
    prompt: Annotated[str, typer.Argument(help="The text whose next token is explained.", show_default=False)],
    dtype: Annotated[Precision, typer.Option(help="The precision that everything is computed in.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    gated_path: Annotated[
        str, typer.Option(help="The path of gated MLPs that is linear: up, half, gate, or the gate's share, 0 to 1.")
    ] = "up",
    attention: Annotated[
        str, typer.Option(help="The path of attention: held, half, live, or the share of its weights' path, 0 to 1.")
    ] = "held",
    baseline: Annotated[
        str, typer.Option(help="What tokens are compared with: zero, mean (the mean embedding), or a token.")
    ] = "zero",
    k: Annotated[
        int,
        typer.Option("--k", min=0, help="Singular triplets of every token; 0 leaves out the matrix, which takes long."),
    ] = 3,
    token: Annotated[
        str | None, typer.Option(help="Explain the logit of this token; default: the most likely one.")
    ] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="The prompt is a chat in the model's template: lines that begin system:, user: or assistant: open its "
            "messages. What the assistant says last is the answer that it has begun.",
        ),
    ] = False,
    answer: Annotated[
        str | None, typer.Option(help="The answer that follows the prompt: every token of it is explained.")
    ] = None,
    generate: Annotated[
        int | None,
        typer.Option(min=1, help="Let the model answer with at most so many of its likeliest tokens, after --answer."),
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(
            help="After which token of the text, prompt and answer together, the next one is explained; negative from "
            "the end. Default: the last before the answer."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(dir_okay=False, writable=True, help="Write the tokens' run to this file, for eq.load_run."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(dir_okay=False, writable=True, help="Write one HTML file with charts, run and proof; see verify."),
    ] = None,
) -> int:
    """Analyse one prompt: is the map exact, what does each token add to the logit, what does its matrix do.

    With an answer, typed or generated, also what each token of the text adds to the log-probability of each of its
    tokens; what that takes is said on stderr before.

    Exit status: 0 printed and exact, 1 printed and NOT exact, 2 nothing to print, or not saved; 130 interrupted.
    """
    # A help text waits for none of these.
    from eqlin_core.command.analysis import analyse  # noqa: PLC0415
    from eqlin_core.command.asked import Asked  # noqa: PLC0415
    from eqlin_core.command.json_text import json_text  # noqa: PLC0415
    from eqlin_core.command.tables import print_tables  # noqa: PLC0415
    from eqlin_core.runs.convention import Convention  # noqa: PLC0415
    from eqlin_core.runs.files import save_run  # noqa: PLC0415

    convention = Convention(gated_path, attention)
    analysis = analyse(
        model,
        prompt,
        dtype=dtype,
        device=device,
        convention=convention,
        k=k,
        token=token,
        baseline=baseline,
        with_weights=report is not None,
        asked=Asked(chat, answer, generate, position),
    )
    if json:
        sys.stdout.write(json_text(analysis))
    else:
        print_tables(analysis)
    if save is not None:
        save_run(analysis.run, save)
    if report is not None:
        from eqlin_core.reports.report import write_report  # noqa: PLC0415

        write_report(report, analysis.run, spectra=analysis.spectra, target=analysis.target, weights=analysis.weights)
    return 0 if analysis.exact else 1
