"""How hard the property tests try: few fixed examples in the suite, many with ``pytest --hypothesis-profile=deep``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

_ROOT = Path(__file__).resolve().parents[1]
_FIXED = settings(
    derandomize=True,  # the same examples everywhere, so that a failure is one of the code
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
settings.register_profile("suite", _FIXED, max_examples=20)
settings.register_profile("deep", _FIXED, max_examples=1000)
settings.load_profile("suite")


def passes_alone(file: str, tests: int) -> None:
    """Run the property tests of a file in a process of its own, without the suite's checks of types."""
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-m", "not slow", file]
    ended = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert f"{tests} passed" in ended.stdout, ended.stdout[-4000:]
