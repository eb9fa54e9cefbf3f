"""``eqlin study``: a file of prompts measured into tables, resumable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eqlin_core.command.run import Precision


def study(
    prompts: Annotated[
        str,
        typer.Argument(
            help="A .csv, .jsonl, .parquet or .txt file of prompts, or a list by name: marin-100, facts, agreement, "
            "copy, patterns, paragraphs.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="The folder of the study; one that is there is gone on with.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(help="smollm2-135m, a preset, a hub id, a folder or a .gguf file; again for another one."),
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            help="What is measured, by commas: exactness, contributions, spectra, layers, heads, faithfulness, "
            "steering.",
        ),
    ] = "exactness,contributions",
    dtype: Annotated[Precision, typer.Option(help="The precision that everything is computed in.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    gated_path: Annotated[
        str, typer.Option(help="The path of gated MLPs that is linear: up, half, gate, or the gate's share, 0 to 1.")
    ] = "up",
    attention: Annotated[
        str, typer.Option(help="The path of attention: held, half, live, or the share of its weights' path, 0 to 1.")
    ] = "held",
    k: Annotated[int, typer.Option("--k", min=1, help="Singular triplets of every token, of the measure spectra.")] = 8,
    deletion: Annotated[
        str, typer.Option(help="How the measure faithfulness deletes a token: mean, removal, or a token.")
    ] = "mean",
    concept: Annotated[
        str,
        typer.Option(help="What the measure steering steers towards; a column 'concept' of the prompts goes before."),
    ] = "",
    strengths: Annotated[str, typer.Option(help="The strengths of the measure steering, by commas.")] = "0,0.5,1",
    first: Annotated[int | None, typer.Option(min=1, help="Only so many of the prompts, the first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it takes, and compute nothing.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Compute on Ray: auto (the cluster that is there), local (this machine's cores), or an address. "
            "Needs pip install eqlin[study].",
        ),
    ] = None,
) -> int:
    """Measure many prompts by one or several models, and write tables (Parquet) that pandas and DuckDB read.

    What a killed run has computed is kept: the same command goes on where it was. A prompt that fails is a row with
    its sentence.

    Exit status: 0 done, 1 done and some prompts failed, 2 nothing done; 130 interrupted, and what was computed is kept.
    """
    # A help text waits for none of these.
    from eqlin_core.command.study_summary import print_summary  # noqa: PLC0415
    from eqlin_core.command.waiting import say, waiting  # noqa: PLC0415
    from eqlin_core.models.loading import load_model  # noqa: PLC0415
    from eqlin_core.studies.prompts import study_prompts  # noqa: PLC0415
    from eqlin_core.studies.study import plan_study, run_study  # noqa: PLC0415

    chosen = study_prompts(prompts)[:first]
    names = model or ["smollm2-135m"]
    options: dict[str, Any] = {
        "measures": [name.strip() for name in measure.split(",") if name.strip()],
        "gated_path": gated_path,
        "attention": attention,
        "k": k,
        "deletion": deletion,
        "concept": concept,
        "strengths": _numbers(strengths),
    }
    if dry_run:
        for name in names:
            with waiting() as told:
                lm = load_model(name, dtype, device, progress=told)
            print(plan_study(chosen, lm, out, **options).sentence())
        return 0
    workers = None
    if ray is not None:
        from eqlin_core.studies.on_ray import RayWorkers  # noqa: PLC0415

        workers = RayWorkers(ray, dtype=dtype, device=device)
    with waiting() as told:
        found = run_study(
            chosen,
            names,
            out,
            dtype=dtype,
            device=device,
            workers=workers,
            name=prompts,
            progress=told,
            on_plan=lambda plan: say(plan.sentence()),
            **options,
        )
    print_summary(found)
    sys.stdout.flush()
    return 1 if found.failures else 0


def _numbers(text: str) -> list[float]:
    from eqlin_core.errors import InvalidValue  # noqa: PLC0415

    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise InvalidValue(f"The strengths {text!r} are no numbers; write them as in 0,0.5,1.") from None
