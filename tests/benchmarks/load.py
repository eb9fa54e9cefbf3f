"""``python -m tests.benchmarks.load``: a room full of visitors, and how long each waits for the first numbers.

The visitors are websocket sessions of one process, so that the machine is left to the server; each has a prompt of its
own. ``--root`` serves the app of another checkout, as of the release before.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.measure import machine, markdown
from tests.benchmarks.visitors import Tab, Visit
from tests.browser.server import REPOSITORY, running_app

LONG_WORDS = 300
# Every so many visitors one closes its tab, after so many seconds.
CLOSING, CLOSED_AFTER = 7, 2.0


@dataclass(frozen=True)
class Coming:
    """A visitor who comes after ``at`` seconds, and ``leaves`` after some more, or stays on for something ``dear``."""

    prompt: str
    at: float = 0.0
    leaves: float | None = None
    dear: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, nargs="+", default=[20, 30])
    parser.add_argument("--limit", type=float, default=180.0, help="seconds that each visitor stays at most")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the checkout that is served")
    chosen = parser.parse_args()
    print(report(chosen.visitors, chosen.limit, chosen.root / "app.py"))


def report(rooms: Sequence[int], limit: float, script: Path) -> str:
    """The table and what it was measured on, as Markdown."""
    rows = [row(f"{n} visitors at once", asyncio.run(served(script, crowd(n), limit))) for n in rooms]
    rows.append(row("one by one, beside 300 words and their matrix", asyncio.run(served(script, beside(), limit))))
    return (
        markdown(["visitors", "stayed", "answered", "failed", "median wait", "worst wait"], rows) + f"\n\n{machine()}"
    )


def crowd(n: int) -> list[Coming]:
    """n visitors at once, some of whom close their tabs."""
    return [
        Coming(f"Chapter {i + 1}: The bridge is", leaves=CLOSED_AFTER if i % CLOSING == 3 else None) for i in range(n)
    ]


def beside() -> list[Coming]:
    """One visitor with a long prompt who stays for its matrix, and short prompts that come while it is computed."""
    long = " ".join(f"Mile {n} of the road was long and dusty." for n in range(LONG_WORDS // 9))
    return [Coming(long, dear=True), *(Coming(f"Answer {n}: The food is", at=8.0 * n) for n in range(1, 7))]


async def served(script: Path, coming: Sequence[Coming], limit: float) -> list[Visit]:
    """What those saw who stayed, on a server that has the model loaded and nothing computed of their prompts."""
    with tempfile.TemporaryDirectory() as folder, running_app(script, environment={"EQLIN_SAVED_RUNS": folder}) as app:
        await Tab(app.url, "Hello").stay(limit)

        async def come(one: Coming) -> Visit:
            await asyncio.sleep(one.at)
            return await Tab(app.url, one.prompt).stay(one.leaves or limit, until_numbers=not one.dear)

        dear = [asyncio.create_task(come(one)) for one in coming if one.dear]
        short = [one for one in coming if not one.dear]
        seen = await asyncio.gather(*(come(one) for one in short))
        for task in dear:
            task.cancel()
        return [visit for visit, one in zip(seen, short, strict=True) if one.leaves is None]


def row(name: str, visits: Sequence[Visit]) -> list[str]:
    waits = [visit.numbers for visit in visits if visit.numbers is not None]
    failed = sum(bool(visit.errors) for visit in visits)
    middle, worst = (f"{median(waits):.1f} s", f"{max(waits):.1f} s") if waits else ("", "")
    return [name, str(len(visits)), str(len(waits)), str(failed), middle, worst]


if __name__ == "__main__":
    main()
