"""The wheel, installed outside the checkout: what it brings, what it needs, and that its command does its work."""

from __future__ import annotations

import re
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from eqlin_core import __version__
from tests.cases import MARIN
from tests.installed import REPOSITORY, Installed


def test_it_claims_one_name_and_brings_the_dashboard_inside(installed: Installed) -> None:
    names = installed.names()
    assert {name.partition("/")[0] for name in names} == {"eqlin_core", f"eqlin-{__version__}.dist-info"}
    brought = {name.removeprefix("eqlin_core/dashboard/") for name in names if "/dashboard/" in name}
    pages = REPOSITORY / "pages"
    files = [*pages.rglob("*.py"), *pages.rglob("*.js"), *(pages / "worker" / "examples").glob("*.npz")]
    there = {file.relative_to(REPOSITORY).as_posix() for file in files}
    assert brought == {"app.py", ".streamlit/config.toml", *there}
    assert not [name for name in names if name.endswith((".pyc", ".txt")) and "dist-info" not in name]


def test_it_needs_what_requirements_txt_lists_and_has_the_version_of_the_code(installed: Installed) -> None:
    where = "import importlib.metadata as m; print(m.distribution('eqlin')._path)"
    found = PathDistribution(Path(installed.run(installed.python, "-c", where).stdout.strip()))
    assert found.version == __version__
    assert [(e.name, e.value) for e in found.entry_points] == [("eqlin", "eqlin_core.command.entry:main")]
    assert found.metadata["Requires-Python"] == ">=3.11"
    needed = [Requirement(text) for text in found.requires or []]

    def listed(file: str) -> set[str]:
        lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
        wanted = [Requirement(line) for line in lines if line and line[0] not in "#-"]
        return {f"{r.name.replace('_', '-')}{r.specifier}" for r in wanted}

    def of(extra: str) -> set[str]:
        chosen = [r for r in needed if (r.marker.evaluate({"extra": extra}) if r.marker else extra == "")]
        return {f"{r.name}{r.specifier}" for r in chosen}

    assert of("") == listed("requirements.txt")
    assert of("test") == listed("tests/requirements.txt")
    assert {Requirement(text).name for text in of("4bit")} == {"bitsandbytes"}
    (torch,) = [r for r in needed if r.name == "torch"]
    assert torch.specifier.contains("2.13.0+cu130"), "a build for CUDA is that torch, too"


def test_the_engine_is_imported_from_the_wheel_and_no_pages_beside_it(installed: Installed) -> None:
    program = (
        "import importlib.util as u, eqlin_core as eq; from eqlin_core.version import engine_fingerprint\n"
        "print(eq.__file__); print(u.find_spec('pages')); print(engine_fingerprint())"
    )
    file, pages, fingerprint = installed.run(installed.python, "-c", program).stdout.splitlines()
    assert installed.environment in Path(file).parents
    assert pages == "None"
    from eqlin_core.version import engine_fingerprint

    assert fingerprint == engine_fingerprint(), "its runs are those of the checkout"


@pytest.mark.slow
def test_its_command_audits_the_default_model(installed: Installed) -> None:
    done = installed.run(installed.eqlin, "audit", "smollm2-135m", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "smollm2-135m: llama, LlamaForCausalLM"
    assert done.stdout.splitlines()[-1] == "exact"


@pytest.mark.slow
def test_its_command_prints_an_analysis(installed: Installed) -> None:
    told = ("--k", "1", "--save", "marin.npz", "--report", "marin.html")
    done = installed.run(installed.eqlin, "run", "smollm2-135m", MARIN, *told)
    assert done.stderr == ""
    assert "exact: reconstruction" in done.stdout
    assert re.search(r"^·only +7\.\d % +9\.36$", done.stdout, re.MULTILINE), "the likeliest next token"
    assert re.search(r"^The +1\.01 +1 +63\.9 ", done.stdout, re.MULTILINE)
    assert re.search(r"^·bridge +10\.4 +1 +4\.45 +·Highway ·bridge ", done.stdout, re.MULTILINE)
    verified = installed.run(installed.eqlin, "verify", "marin.html")
    assert verified.stderr == ""
    assert verified.stdout.splitlines()[-1].startswith("Verified: all that marin.html holds")
    program = "import eqlin_core as eq; run = eq.load_run('marin.npz'); print(run.key.model, run.targets[0].token)"
    assert installed.run(installed.python, "-c", program).stdout == "smollm2-135m  only\n"


def test_as_a_module_it_is_the_same_command(installed: Installed) -> None:
    done = installed.run(installed.python, "-m", "eqlin_core", "--version")
    assert done.stdout == installed.run(installed.eqlin, "--version").stdout == f"eqlin {__version__}\n"
