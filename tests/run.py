"""The test command, `python tests/run.py [pytest's arguments]`: lint, format, types, and every test that is not slow.

It needs Python 3.11 and nothing else. Outside a virtual environment it makes one, `.venv-test`, and goes on inside it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = REPOSITORY / ".venv-test"
OLDEST_PYTHON = (3, 11)
# Browser tests that run after those of the engine, and tests of the engine that wait for other processes and run after
# those of the browser, so that both halves take as long.
WITH_ENGINE = ("tests/browser/test_faithfulness.py",)
WITH_BROWSER = ("tests/eqlin_core/studies/test_on_ray.py",)
# So many failed browser tests run once more when nothing runs beside them; where more failed, it is not the load.
MOST_AGAIN = 3
TESTS_FAILED = 1  # pytest's exit code where tests failed and nothing else did


def main() -> int:
    """Run every stage, also after one has failed. 0 when all went well."""
    if sys.version_info < OLDEST_PYTHON:
        return give_up("eqlin needs Python 3.11 or newer; run the tests with that, as in `python3.11 tests/run.py`.")
    os.chdir(REPOSITORY)
    if sys.prefix == sys.base_prefix:
        return in_a_virtual_environment()
    python = sys.executable
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    stages = [
        ("install", [*pip, "-r", "requirements.txt", "-r", "tests/requirements.txt"]),
        ("chromium", [python, "-m", "tests.browser.chromium"]),
        ("ruff check", [python, "-m", "ruff", "check", "."]),
        ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
    ]
    beside = ("mypy", [python, "-m", "mypy"])
    results = []
    for name, command in stages:
        results.append((name, *timed(name, command)))
        if name == "install" and results[-1][1]:
            return give_up("The requirements could not be installed: see pip's message above.")
    # Given first, so that an own -m among the arguments replaces it.
    pytest = [python, "-m", "pytest", "-m", "not slow"]
    if sys.stdout.isatty():
        pytest.append("--color=yes")
    if sys.argv[1:]:
        suites = {"pytest": [*pytest, *sys.argv[1:]]}
    else:  # browser tests wait for the app most of the time, so the other tests run beside them
        others = sorted(str(path) for path in Path("tests").glob("test_*.py"))
        folders = [f"tests/{name}" for name in ("eqlin_core", "pages", "devices", "gpu")]
        suites = {
            "engine": [*pytest, *folders, *others, *WITH_ENGINE, *(f"--ignore={path}" for path in WITH_BROWSER)],
            "browser": [*pytest, "tests/browser", *WITH_BROWSER, *(f"--ignore={path}" for path in WITH_ENGINE)],
        }
        for name, command in suites.items():
            shutil.rmtree(cache(name), ignore_errors=True)
            command += ["-o", f"cache_dir={cache(name)}"]
    summaries = []
    for name, (code, seconds, summary) in timed_tests(dict([*suites.items(), beside])).items():
        results.append((name, code, seconds))
        summaries.append(summary)
    failed = [name for name, code, _ in results if code]
    only_tests = all(code in (0, TESTS_FAILED) for _, code, _ in results)
    unsteady = failed_beside_others(failed) if only_tests and not sys.argv[1:] else []
    if unsteady:
        results.append(("again, alone", *timed("again, alone", [*pytest, *unsteady])))
        failed = [name for name in failed if name not in suites] + ["again, alone"] * bool(results[-1][1])
        summaries.append(f"Failed while the other tests ran: {', '.join(unsteady)}.")
    print()
    for name, code, seconds in results:
        print(f"{name:<12} {'failed' if code else 'ok':<6} {seconds:7.1f} s")
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    print("\n".join(summaries), flush=True)
    return 1 if failed else 0


def in_a_virtual_environment() -> int:
    """Make the virtual environment unless it is there, and run this file inside it. Its exit code."""
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not has_pip(python):
        print(f"making the virtual environment {ENVIRONMENT.name}", flush=True)
        if subprocess.call([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]):
            return give_up("Python could not make a virtual environment: on Debian and Ubuntu, install python3-venv.")
    return subprocess.call([str(python), str(Path(__file__).resolve()), *sys.argv[1:]])


def has_pip(python: Path) -> bool:
    """Whether this Python has pip. It is installed last, so an environment whose making was interrupted has none."""
    if not python.exists():
        return False
    return subprocess.call([str(python), "-m", "pip", "--version"], stdout=subprocess.DEVNULL) == 0


def timed(name: str, command: list[str]) -> tuple[int, float]:
    """The exit code of a stage, and the seconds it took. What it prints is shown."""
    print(f"--- {name}", flush=True)
    began = time.monotonic()
    code = subprocess.call(command)
    return code, time.monotonic() - began


def timed_tests(suites: dict[str, list[str]]) -> dict[str, tuple[int, float, str]]:
    """Each suite's exit code, seconds, and closing line; all run at once, and their output is shown suite by suite.

    They share the cores: threads that wait for each other would make two busy processes slower than one. What checks
    types stands beside them, since the browser's tests leave a part of a core.
    """
    threads = str(max(1, (os.cpu_count() or 1) // max(1, len(suites) - 1)))
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        running = {
            name: pool.submit(run_suite, command, environment, began, print_it=i == 0)
            for i, (name, command) in enumerate(suites.items())
        }
        print(f"--- {next(iter(suites))}", flush=True)
        found = {}
        for i, (name, future) in enumerate(running.items()):
            code, seconds, output = future.result()
            if i:
                print(f"--- {name}\n{output}", flush=True)
            lines = output.rstrip().splitlines()
            found[name] = code, seconds, lines[-1] if lines else "pytest printed nothing"
    return found


def run_suite(command: list[str], environment: dict[str, str], began: float, print_it: bool) -> tuple[int, float, str]:
    """pytest's exit code, the seconds until it ended, and what it printed, shown as it comes or kept for later."""
    seen = bytearray()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 4096):
            seen += chunk
            if print_it:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
    return process.returncode, time.monotonic() - began, seen.decode(errors="replace")


def cache(suite: str) -> Path:
    """Where pytest notes what failed in a suite; suites that run at once would overwrite each other's."""
    return Path(".pytest_cache") / suite


def failed_beside_others(suites: list[str]) -> list[str]:
    """The tests that failed in these suites, where all of them are of the browser and few; else none.

    They share two cores with the engine's tests, and a page that is slow to follow may be read too early.
    """
    found: list[str] = []
    for suite in suites:
        noted = cache(suite) / "v/cache/lastfailed"
        found += json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else ["unknown"]
    few = len(found) <= MOST_AGAIN and all(test.startswith("tests/browser/") for test in found)
    return found if few else []


def give_up(sentence: str) -> int:
    """Say why nothing could be tested. The exit code for that."""
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
