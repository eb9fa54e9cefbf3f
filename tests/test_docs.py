"""What README, docs/ and their companions promise: examples run; files, commands and names exist; links lead on."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import eqlin_core as eq
from eqlin_core.version import __version__

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXTS = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS)
}
README_BYTES = 8192
# Of a fenced block: what stands after "python" in its first line, and the code.
PYTHON = re.compile(r"^```python(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
NOT_RUN = re.compile(r" not run: \w.{10,}")
FENCE = re.compile(r"^```.*\n((?:.*\n)*?)```$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
# A path from the top of the repository, or a file that lies there or at the top of the engine.
PATH = re.compile(r"`((?:pages|tests|eqlin_core|docs|\.ci|\.github)/[\w./-]*|[\w.-]+\.(?:py|toml|txt|yaml|cff|md))`")
LINK = re.compile(r"!?\[[^\]]+\]\(([^)\s]+)\)")
# What a LinearMap has only once it is made, so that the class does not show it.
SET_WHEN_MADE = {"lm", "network", "position", "token_ids", "tokens"}

texts = pytest.mark.parametrize("name", list(TEXTS))


# ---- README --------------------------------------------------------------------------------------------------------


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert 2048 < len(README.encode()) < README_BYTES
    assert len(re.findall(r"^!\[", README, re.MULTILINE)) == 1, "one picture; the others are in docs/pages.md"


def test_its_two_commands_are_the_ones_that_run() -> None:
    commands = re.findall(r"```\n(.*?)\n```", README, re.DOTALL)
    assert commands[:2] == ["pip install -r requirements.txt && streamlit run app.py", "python tests/run.py"]
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("python3 tests/run.py")


def test_its_example_runs_and_prints_what_it_says() -> None:
    names, shown = run("README.md")
    assert "exact=True" in shown
    assert "63.9" in shown
    assert "Highway" in shown
    assert names["terms"].shape == (1, 7)
    assert names["heads"].shape == (1, 30, 9, 7)


def rounded(text: str) -> str:
    """A text without the digits of errors, which are those of one processor's arithmetic; their size stays."""
    return re.sub(r"\d\.\d+e(-\d+)", lambda found: f"e{int(found[1]) // 2}", text)


# ---- code in docs/ -------------------------------------------------------------------------------------------------


def test_every_example_runs_or_says_why_not() -> None:
    found = {name: PYTHON.findall(text) for name, text in TEXTS.items()}
    assert {name for name, blocks in found.items() if blocks} >= {"README.md", "docs/python.md", "docs/exactness.md"}
    for name, blocks in found.items():
        marks = [mark for mark, _ in blocks if mark]
        assert all(NOT_RUN.fullmatch(mark) for mark in marks), f"{name}: {marks}"
        _, shown = run(name)
        for line in re.findall(r"^# (.+)$", "".join(code for mark, code in blocks if not mark), re.MULTILINE):
            assert rounded(line) in rounded(shown), f"{name} says that this is printed: {line}"


def test_the_notebook_of_figures_runs_from_its_first_cell_to_its_last() -> None:
    cells = json.loads((ROOT / "docs" / "figures.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "docs/figures.ipynb", "exec"), names)
    assert names["terms"].shape == (1, 5)


def test_exact_maps_of_one_prompt_tell_the_stories_that_the_docs_say() -> None:
    (block,) = [code for _, code in PYTHON.findall(TEXTS["docs/exactness.md"])]
    stated = [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# True")]
    assert len(stated) == 4
    assert run("docs/exactness.md")[1].splitlines() == stated


@functools.cache
def run(name: str) -> tuple[dict, str]:
    """(names left behind, what was printed) by the examples of a text, run one after the other as a reader would."""
    names: dict = {}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for mark, code in PYTHON.findall(TEXTS[name]):
            if not mark:
                exec(compile(code, name, "exec"), names)
    return names, shown.getvalue()


# ---- what they name ------------------------------------------------------------------------------------------------


@texts
def test_every_link_and_picture_leads_to_a_file(name: str) -> None:
    for link in LINK.findall(TEXTS[name]):
        if link.startswith("https:"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


@texts
def test_every_path_that_is_named_is_there(name: str) -> None:
    for path in PATH.findall("\n".join(f"`{span}`" for span in SPAN.findall(FENCE.sub("", TEXTS[name])))):
        if path == "jobs.py":  # each topic's room has one
            continue
        kind = Path.is_dir if path.endswith("/") else Path.is_file
        assert any(kind(folder / path) for folder in (ROOT, ROOT / "eqlin_core")), path


@texts
def test_every_module_that_is_run_is_there(name: str) -> None:
    for module in re.findall(r"python3? -m ([\w.]+\w)", TEXTS[name]):
        found = importlib.util.find_spec(module)
        assert found is not None, module
        if found.submodule_search_locations is not None:
            assert importlib.util.find_spec(f"{module}.__main__") is not None, f"{module} cannot be run"


@texts
def test_every_public_name_is_there(name: str) -> None:
    names = re.findall(r"\b(eq|lin)\.(\w+)", TEXTS[name])
    assert {n for of, n in names if of == "eq" and not hasattr(eq, n)} == set()
    assert {n for of, n in names if of == "lin" and not hasattr(eq.LinearMap, n)} <= SET_WHEN_MADE


def test_every_subcommand_that_is_named_is_in_the_help() -> None:
    code = "\n".join(part for text in TEXTS.values() for part in [*FENCE.findall(text), *SPAN.findall(text)])
    named = set(re.findall(r"^(?:eqlin|python -m eqlin_core) ([a-z]\w*)", code, re.MULTILINE))
    assert named >= {"serve", "audit", "run"}
    done = subprocess.run(
        [sys.executable, "-m", "eqlin_core", "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    listing = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)  # without colours
    assert {command for command in named if not re.search(rf"^\W*{command}\b", listing, re.MULTILINE)} == set()


@pytest.mark.parametrize("package", ["eqlin_core", "pages"])
def test_the_map_of_the_code_has_every_room(package: str) -> None:
    (table,) = re.findall(rf"^\| room of `{package}/`.*\n((?:\|.*\n)+)", TEXTS["docs/architecture.md"], re.MULTILINE)
    named = [room for row in table.splitlines() for room in re.findall(r"`(\w+)/`", row.split("|")[1])]
    assert sorted(named) == sorted(file.parent.name for file in (ROOT / package).glob("*/__init__.py"))


# ---- how they hang together ----------------------------------------------------------------------------------------


def test_the_readme_leads_to_every_text() -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in TEXTS:
            continue
        reached.add(name)
        links = [link.partition("#")[0] for link in LINK.findall(TEXTS[name]) if not link.startswith("https:")]
        waiting += [str(((ROOT / name).parent / link).resolve().relative_to(ROOT)) for link in links if link]
    assert reached == set(TEXTS)


def test_every_picture_is_shown() -> None:
    shown = {Path(link).name for text in TEXTS.values() for link in LINK.findall(text) if link.endswith(".png")}
    assert shown == {picture.name for picture in (ROOT / ".github" / "screenshots").glob("*.png")}


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert {"message", "title", "authors", "license"} <= set(citation)
    paper = citation["preferred-citation"]
    assert paper["title"] in README
    assert paper["url"] in README


def test_the_newest_changes_are_of_this_version() -> None:
    newest = re.findall(r"^## (.+)$", TEXTS["CHANGELOG.md"], re.MULTILINE)[0]
    assert __version__ in newest


def test_the_checks_before_a_commit_and_in_the_workflow_are_those_of_the_test_command() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    stages = (ROOT / "tests" / "run.py").read_text(encoding="utf-8")
    for hook in hooks["repos"][0]["hooks"]:
        assert f'("{hook["name"]}", [python, ' in stages, f"{hook['name']} is no stage of tests/run.py"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1]["run"] == "python tests/run.py"
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert oldest is not None
    assert job["strategy"]["matrix"]["python"][0] == oldest[1]


def anchors(file: Path) -> set[str]:
    """The anchors of a text's headings."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
