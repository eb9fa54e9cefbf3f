"""``eqlin faithfulness``: how far exact splits and other methods foretell what a model does without a token."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from eqlin_core.command.run import Precision


def faithfulness(
    model: Annotated[str, typer.Argument(help="smollm2-135m, a preset, a hub id, a folder or a .gguf file.")] = (
        "smollm2-135m"
    ),
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="facts, patterns or paragraphs; again for another one. Default: facts."),
    ] = None,
    first: Annotated[
        int | None, typer.Option("--first", min=1, help="Only so many prompts of each list, spread over it.")
    ] = None,
    deletion: Annotated[str, typer.Option(help="How a token is deleted: mean, removal, or a token.")] = "mean",
    begin: Annotated[bool, typer.Option("--begin", help="Put the begin-of-text token before every prompt.")] = False,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Every prompt is a chat in the model's template: what the user says, unless a line begins system:, "
            "user: or assistant:.",
        ),
    ] = False,
    ranks_only: Annotated[
        bool, typer.Option("--ranks-only", help="Only the rank agreement with leave-one-out, which is quicker.")
    ] = False,
    dtype: Annotated[Precision, typer.Option(help="The precision that everything is computed in.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the study as JSON, and nothing else.")] = False,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, writable=True, help="Write the study to this file, as JSON.")
    ] = None,
) -> int:
    """Compare methods by what deleting tokens does to the most likely next token's log-probability.

    Exit status: 0 printed, 2 nothing to print, or not saved; 130 interrupted.
    """
    # A help text waits for none of these.
    from eqlin_core.attribution.prompts import prompt_list  # noqa: PLC0415
    from eqlin_core.attribution.study import CURVE, KS  # noqa: PLC0415
    from eqlin_core.attribution.study import faithfulness as study  # noqa: PLC0415
    from eqlin_core.command.faithfulness_table import print_study  # noqa: PLC0415
    from eqlin_core.command.waiting import waiting  # noqa: PLC0415
    from eqlin_core.models.loading import load_model  # noqa: PLC0415

    prompts = []
    for name in lists or ["facts"]:
        whole = prompt_list(name)
        step = max(1, len(whole) // first) if first else 1
        prompts += [replace(prompt, chat=chat) for prompt in whole[::step][:first]]
    with waiting() as told:
        lm = load_model(model, dtype, device, progress=told)
        found = study(
            lm,
            prompts,
            deletion=deletion,
            ks=None if ranks_only else KS,
            curve=0 if ranks_only else CURVE,
            begin=begin,
            progress=told,
        )
    if json:
        sys.stdout.write(found.to_json() + "\n")
    else:
        print_study(found)
    if save is not None:
        from eqlin_core.disk import write_file  # noqa: PLC0415

        write_file(save, found.to_json().encode(), "The study")
    return 0
