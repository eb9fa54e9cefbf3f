"""``python -m eqlin_core.audit --all``: every architecture of the installed transformers, exact or by its reason.

Each is examined in a process that is not this one, so that none can take the run down, and none may take longer than
its time. What was found before is not examined again where a file keeps it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from eqlin_core.audit.architectures import architectures, has_second, tiny_architecture
from eqlin_core.audit.families import tiny_prompt
from eqlin_core.disk import write_whole
from eqlin_core.errors import EqlinError
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel

EXACT, REFUSED, INEXACT, FAILED, UNBUILT = "exact", "refused", "not exact", "failed", "not built"
LIMIT_SECONDS = 60.0
CONVENTIONS = ("up", "gate")


@dataclass(frozen=True)
class Finding:
    """One architecture: its verdict, the reason where it is not exact, its largest error, and what it took."""

    model_type: str
    verdict: str
    reason: str
    error: float | None
    seconds: float

    @property
    def line(self) -> str:
        """The finding on one line."""
        error = "" if self.error is None else f"{self.error:.1e}"
        return f"{self.model_type:<26} {self.verdict:<10} {error:<8} {self.reason}".rstrip()


def examine(model_type: str) -> Finding:
    """A tiny model of this type, by both conventions of gated products; in float32 if its code fails in float64."""
    import torch  # noqa: PLC0415 - slow to import

    began = time.monotonic()
    lm, said = None, ""
    try:
        lm = tiny_architecture(model_type)
        if not _runs(lm):
            lm, said = tiny_architecture(model_type, torch.float32), "in float32: its own code fails in float64"
        verdict, reason, error = _verdict(lm)
        if verdict == EXACT and has_second(model_type):
            verdict, reason, other = _verdict(tiny_architecture(model_type, second=True))
            error = max(error, other)
    except EqlinError as refusal:
        verdict, reason, error = REFUSED, str(refusal), None
    except ImportError as missing:
        package = re.search(r"requires the (\w+) library", str(missing))
        verdict, reason, error = REFUSED, f"its code needs the package {package[1]}" if package else str(missing), None
    except Exception as failure:
        verdict, error = UNBUILT if lm is None else FAILED, None
        reason = f"{type(failure).__name__}: {failure}"
    reason = "; ".join(part for part in (said, " ".join(reason.split())[:300]) if part)
    return Finding(model_type, verdict, reason, error, round(time.monotonic() - began, 2))


def _verdict(lm: LanguageModel) -> tuple[str, str, float]:
    """The verdict on a model, the reason, and its largest error of reconstruction."""
    from eqlin_core.maps.linearization import linearize  # noqa: PLC0415 - torch is slow to import

    errors = []
    for convention in CONVENTIONS:
        exactness = linearize(lm, token_ids=tiny_prompt(), gated_path=convention).exactness()
        errors.append(exactness.reconstruction)
        if not exactness.exact:
            off = f"the forward value is {exactness.forward:.0e} off the model's"
            return INEXACT, "; ".join(exactness.leaks[:3]) or off, max(errors)
    return EXACT, "", max(errors)


def _runs(lm: LanguageModel) -> bool:
    """Whether the untouched model's own code runs in its precision."""
    import torch  # noqa: PLC0415

    try:
        with torch.no_grad(), eager_experts(lm.model):
            lm.decoder(input_ids=torch.tensor([tiny_prompt()]), use_cache=False)
    except (RuntimeError, ValueError, OverflowError) as error:
        return "dtype" not in str(error) and "overflow" not in str(error)
    except Exception:
        return True  # it asks for something else, which `linearize` will say
    return True


def examine_all(
    names: Iterable[str], *, file: Path | None = None, workers: int | None = None, limit: float = LIMIT_SECONDS
) -> Iterator[Finding]:
    """The findings of these architectures as they come; those that ``file`` knows are not examined again.

    The file is JSON, and written after every one. ``limit`` seconds are what one may take.
    """
    known = {} if file is None else _known(file)
    wanted = list(names)
    yield from (known[name] for name in wanted if name in known)
    left = [name for name in wanted if name not in known]
    count = max(1, min(workers or os.cpu_count() or 1, len(left) or 1))
    seats = [_Worker() for _ in range(count)]
    try:
        with ThreadPoolExecutor(count) as pool:
            free: SimpleQueue[_Worker] = SimpleQueue()
            for seat in seats:
                free.put(seat)
            jobs = [pool.submit(_examined, free, name, limit) for name in left]
            for job in as_completed(jobs):
                finding = job.result()
                known[finding.model_type] = finding
                if file is not None:
                    write_whole(file, json.dumps([asdict(f) for f in known.values()], indent=1).encode())
                yield finding
    finally:
        for seat in seats:
            seat.end()


def _examined(free: SimpleQueue[_Worker], name: str, limit: float) -> Finding:
    seat = free.get()
    try:
        return seat.examine(name, limit)
    finally:
        free.put(seat)


def _known(file: Path) -> dict[str, Finding]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {row["model_type"]: Finding(**row) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EqlinError(f"{file.name} holds no findings of an earlier run: name another file.") from error


class _Worker:
    """A process that examines one architecture after another, and is replaced when one ends or outstays it."""

    def __init__(self) -> None:
        self._process: Any = None
        self._ours: Any = None

    def examine(self, name: str, limit: float) -> Finding:
        """The finding, also where the process dies of it."""
        if self._process is None:
            self._begin()
        self._ours.send(name)
        try:
            if self._ours.poll(limit):
                finding: Finding = self._ours.recv()
                return finding
            reason = f"it took longer than {limit:.0f} seconds"
        except EOFError:
            reason = "its process ended"
        self.end()
        return Finding(name, FAILED, reason, None, limit)

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv()  # it has imported what all need

    def end(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._ours.close()
            self._process = None


def _serve(theirs: Connection) -> None:
    """Examine what is asked for until nobody asks any more."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    theirs.send(None)
    while True:
        try:
            name = theirs.recv()
        except EOFError:
            return
        theirs.send(examine(name))


def summary(findings: Iterable[Finding]) -> str:
    """How many there are of each verdict."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), key=lambda item: -item[1]))


def markdown(findings: Iterable[Finding]) -> str:
    """The findings as a table."""
    rows = sorted(findings, key=lambda finding: finding.model_type)
    lines = ["| architecture | verdict | error | reason |", "| --- | --- | --- | --- |"]
    for row in rows:
        error = "" if row.error is None else f"{row.error:.1e}"
        lines.append(f"| {row.model_type} | {row.verdict} | {error} | {row.reason.replace('|', '/')} |")
    return "\n".join(lines)


def print_all(file: Path | None) -> int:
    """Print a line for each architecture, and the counts. 0 when each is exact or refused in a sentence, else 1."""
    findings = []
    for finding in examine_all(architectures(), file=file):
        findings.append(finding)
        print(finding.line, flush=True)
    print(summary(findings))
    return 0 if all(f.verdict in (EXACT, REFUSED) for f in findings) else 1
