"""``python -m tests.benchmarks.faithfulness``: the study behind docs/faithfulness.md, its tables and its picture.

Every list is measured prompt by prompt, in a process of its own on one thread, and written down after every few: a run
that was interrupted goes on where it was. With two cores the three lists take about two hours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eqlin_core import figures
from eqlin_core.runs.faithfulness import RANK, RANK_REST, TRUTH_FIRST, Faithfulness, joined
from tests.benchmarks.measure import markdown
from tests.browser.server import REPOSITORY

LISTS = ("facts", "patterns", "paragraphs")
# What deletes and keeps many tokens takes minutes for a paragraph: there, ranks alone.
RANKS_ONLY = ("paragraphs",)
AT_A_TIME = 4
# In this order, so that the first prompts of a list are a sample of it.
SEED = 7
PICTURE = REPOSITORY / ".github" / "screenshots" / "faithfulness.png"
DEFAULT = "logit, baseline zero, half, attention half"
PUBLISHED = "logit, baseline zero, up"
SHOWN = (
    DEFAULT,
    "logit, baseline mean embedding, half, attention half",
    "log-probability, baseline zero, half, attention half",
    "logit, baseline zero, half, attention live",
    "logit, baseline mean embedding, half",
    "logit, baseline zero, half",
    "logit, baseline zero, gate",
    PUBLISHED,
    "integrated gradients, log-probability, baseline zero",
    "integrated gradients, logit, baseline zero",
    "input x gradient, log-probability, baseline zero",
    "input x gradient, logit, baseline zero",
    "attention, last layer",
    "attention rollout",
    "random",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "test-results" / "faithfulness", help="where studies lie"
    )
    parser.add_argument("--only", choices=LISTS, help="measure this list, in this process")
    parser.add_argument("--begin", action="store_true", help="with the begin-of-text token before every prompt")
    parser.add_argument("--report", action="store_true", help="print the tables of what is there, and draw the picture")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.report:
        print(report(read(chosen.out)))
        draw(read(chosen.out))
    elif chosen.only:
        measure(chosen.only, chosen.out, begin=chosen.begin)
    else:
        more = ["--begin"] if chosen.begin else []
        command = [sys.executable, "-m", "tests.benchmarks.faithfulness", "--out", str(chosen.out), *more, "--only"]
        running = [subprocess.Popen([*command, name], cwd=REPOSITORY) for name in LISTS]
        sys.exit(max(process.wait() for process in running))


def file_of(name: str, out: Path, *, begin: bool = False) -> Path:
    """Where the study of a list lies."""
    return out / f"{name}{'-begin' if begin else ''}.json"


def read(out: Path, *, begin: bool = False) -> dict[str, Faithfulness]:
    """The studies that are there, by list."""
    files = {name: file_of(name, out, begin=begin) for name in LISTS}
    return {n: Faithfulness.from_json(f.read_text(encoding="utf-8")) for n, f in files.items() if f.is_file()}


def measure(name: str, out: Path, *, begin: bool = False) -> None:
    """Measure a list, or what of it is missing."""
    import torch

    from eqlin_core import faithfulness, load_model, prompt_list
    from eqlin_core.attribution.study import CURVE, KS

    torch.set_num_threads(1)
    lm = load_model(dtype="float32", device="cpu")
    every = prompt_list(name)
    prompts = [every[i] for i in np.random.default_rng(SEED).permutation(len(every))]
    file = file_of(name, out, begin=begin)
    parts = [Faithfulness.from_json(file.read_text(encoding="utf-8"))] if file.is_file() else []
    whole = name not in RANKS_ONLY and not begin
    done = len(parts[0].tokens) if parts else 0
    for start in range(done, len(prompts), AT_A_TIME):
        some = prompts[start : start + AT_A_TIME]
        parts.append(faithfulness(lm, some, ks=KS if whole else None, curve=CURVE if whole else 0, begin=begin))
        file.write_text(joined(parts).to_json(), encoding="utf-8")
        print(f"{name}: {min(start + AT_A_TIME, len(prompts))} of {len(prompts)}", flush=True)


def report(studies: dict[str, Faithfulness]) -> str:
    """The tables of the document, as Markdown."""
    return "\n\n".join([_ranks(studies), _differences(studies), _drops(studies), _kinds(studies)])


def _ranks(studies: dict[str, Faithfulness]) -> str:
    first = next(iter(studies.values()))
    chosen = [study for name, study in studies.items() if name != "paragraphs"]
    rows = []
    for method, exact in zip(first.methods, first.exact, strict=True):
        mean = float(np.mean([study.mean(RANK, method) for study in chosen]))
        rest = float(np.mean([study.mean(RANK_REST, method) for study in studies.values()]))
        cells = [interval(study, RANK, method) for study in studies.values()]
        rows.append((mean, [method + (" *" if exact else ""), *cells, f"{rest:.2f}"]))
    rows.sort(key=lambda row: -row[0])
    head = ["method", "facts and patterns", *studies, "without the first"]
    return markdown(head, [[cells[0], f"{mean:.2f}", *cells[1:]] for mean, cells in rows])


def _differences(studies: dict[str, Faithfulness]) -> str:
    rows = []
    for name, study in studies.items():
        for other in dict.fromkeys((_best_other(study), PUBLISHED, "input x gradient, log-probability, baseline zero")):
            mean, low, high = study.difference(RANK, DEFAULT, other)
            rows.append([name, other, f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"])
    return markdown(["list", "the default lies above", "by"], rows)


def _best_other(study: Faithfulness) -> str:
    """The method of the highest rank agreement that is neither exact nor leave-one-out itself, which is the last."""
    named = [m for m, e in zip(study.methods[:-1], study.exact[:-1], strict=True) if not e]
    return max(named, key=lambda method: study.mean(RANK, method))


def _drops(studies: dict[str, Faithfulness]) -> str:
    measures = ("drop 1", "drop 3", "drop 10 %", "drop 20 %", "keep 20 %", "area")
    rows = []
    for name, study in studies.items():
        if measures[0] in study.values:
            for method in (*SHOWN, study.methods[-1]):
                rows.append([name, method, *(interval(study, measure, method) for measure in measures)])
    return markdown(["list", "method", *measures], rows)


def _kinds(studies: dict[str, Faithfulness]) -> str:
    rows = []
    for name, study in studies.items():
        for kind in sorted(set(study.kinds)):
            part = study.only(kind)
            rows.append(
                [name, kind, str(len(part.tokens)), interval(part, RANK, DEFAULT), interval(part, RANK, PUBLISHED)]
                + [truth(part, method) for method in (DEFAULT, "input x gradient, logit, baseline zero", "random")]
            )
    head = ["list", "kind", "prompts", "default", "published", "default on the answer", "input x gradient", "random"]
    return markdown(head, rows)


def truth(study: Faithfulness, method: str) -> str:
    """In how many of the prompts with a known answer the highest score is on it."""
    share = study.mean(TRUTH_FIRST, method)
    return "" if np.isnan(share) else f"{share:.0%}"


def interval(study: Faithfulness, measure: str, method: str) -> str:
    """The mean over prompts with its interval."""
    low, high = study.interval(measure, method)
    return f"{study.mean(measure, method):.2f} [{low:.2f}, {high:.2f}]"


def draw(studies: dict[str, Faithfulness]) -> None:
    """Write the picture of the document."""
    from playwright.sync_api import sync_playwright

    from tests.browser.chromium import launch

    first = next(iter(studies.values()))
    exact = [m for m, e in zip(first.methods, first.exact, strict=True) if e]
    chart = figures.method_means(
        {name: means(study, SHOWN) for name, study in studies.items()},
        measure="rank correlation with leave-one-out, mean over prompts with 95 % intervals; * sums exactly",
        exact=exact,
    )
    chart.figure.update_layout(width=1100)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(
            viewport={"width": 1100, "height": int(chart.figure.layout.height)}, device_scale_factor=1.5
        )
        page.set_content(chart.figure.to_html(include_plotlyjs=True, full_html=True, config={"displayModeBar": False}))
        page.locator(".js-plotly-plot").screenshot(path=PICTURE)
        browser.close()
    print(PICTURE.relative_to(REPOSITORY))


def means(study: Faithfulness, methods: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """(mean, low, high) of the rank agreement by method."""
    return {method: (study.mean(RANK, method), *study.interval(RANK, method)) for method in methods}


if __name__ == "__main__":
    main()
