"""Who may import whom: the rooms of docs/architecture.md, held against the code's own imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GROUND = ("errors", "arguments", "disk", "dtypes", "version", "reprs", "progress", "cache", "multiplication")
# What each room may import, and with it what that may import; files that stand alone are rooms of one file.
ROOMS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "arguments": ("errors",),
    "disk": ("arguments",),
    "dtypes": (),
    "version": (),
    "reprs": (),
    "progress": ("errors",),
    "multiplication": (),
    "cache": ("errors",),
    "figures": (),
    "linalg": GROUND,
    "runs": GROUND,
    "reports": ("runs", "figures"),
    "models": (*GROUND, "runs.values", "runs.text", "runs.chat"),
    "resources": ("models", "runs"),
    "freezing": ("models", "runs"),
    "maps": ("freezing", "resources"),
    "spectra": ("maps", "linalg"),
    "layers": ("maps", "linalg", "freezing"),
    "lenses": ("maps", "layers"),
    "steering": ("maps",),
    "audit": ("maps", "freezing"),
    "attribution": ("maps",),
    "analysis": ("spectra", "layers", "lenses", "steering", "audit", "attribution"),
    "studies": ("analysis",),
    "command": ("analysis", "studies", "reports"),
}
# Rooms that load no torch, and files outside them that load none either, whose constants and facts the pages read.
WITHOUT_TORCH = ("errors", "arguments", "disk", "version", "reprs", "progress", "cache", "figures", "runs", "reports")
CONSTANTS = (
    *("models.presets", "models.bundled", "models.files", "models.names", "models.on_disk"),
    *("layers.cost", "lenses.kept", "steering.presets"),
    *("studies.notes", "studies.tables", "studies.reading", "studies.summary"),
)
PAGE_ROOMS: dict[str, tuple[str, ...]] = {
    "worker": (),
    "door": ("worker",),
    "visit": ("door",),
    "widgets": ("visit",),
    "frame": ("widgets", "door"),
    "contributions": ("widgets",),
    "triplets": ("widgets",),
    "matrices": ("widgets",),
    "sweep": ("widgets",),
    "steered": ("widgets", "door"),
    "comparison": ("contributions", "triplets"),
    "kept": ("widgets",),
    "catalogue": ("widgets",),
    "answers": ("contributions",),
    "story": ("contributions", "matrices", "steered"),
    "studies": ("widgets", "door"),
}
# The only places of the pages that import more of the engine than runs, figures and constants, and late.
JOBS = ("pages.worker.engine", "pages.worker.models", "pages.worker.analysis", "pages.worker.texts")


def imports(file: Path, *, at_runtime: bool = False) -> Iterator[tuple[str, str, bool]]:
    """(module, imported module, whether it is late) of a file; ``at_runtime`` leaves out what only types need."""
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    top = {id(node) for statement in tree.body for node in _at_import(statement)}
    for node in ast.walk(tree):
        if at_runtime and id(node) in for_types:
            continue
        late = id(node) not in top
        if isinstance(node, ast.Import):
            yield from ((module, alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if file.stem == "__init__" else module.rpartition(".")[0]
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield module, whole if _is_module(whole) else base, late


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: everything outside functions."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _at_import(child)


@cache
def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@cache
def _all_imports(package: str) -> tuple[tuple[str, str, bool], ...]:
    return tuple(edge for file in sorted((ROOT / package).rglob("*.py")) for edge in imports(file))


def allowed(room: str, table: dict[str, tuple[str, ...]]) -> set[str]:
    """The rooms, or modules of rooms, that a room may import."""
    seen: set[str] = set()
    waiting = list(table[room])
    while waiting:
        other = waiting.pop()
        if other not in seen:
            seen.add(other)
            waiting.extend(table.get(other, ()))
    return seen


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_engine_imports_only_what_it_may(room: str) -> None:
    may = allowed(room, ROOMS) | {room}
    for module, other, _ in _all_imports("eqlin_core"):
        if other.startswith("eqlin_core.") and _room_of(module) == room:
            inner = other.removeprefix("eqlin_core.")
            assert inner.split(".")[0] in may or inner in may, f"{module} imports {other}"


def test_every_room_of_the_engine_has_its_line() -> None:
    there = {p.name.removesuffix(".py") for p in (ROOT / "eqlin_core").iterdir() if p.suffix == ".py" or _holds_code(p)}
    assert there == {"__init__", "__main__", *ROOMS}


def test_every_room_of_the_pages_has_its_line() -> None:
    assert {p.name for p in (ROOT / "pages").iterdir() if p.is_dir() and _holds_code(p)} == set(PAGE_ROOMS)
    scripts = {p.stem for p in (ROOT / "pages").glob("*.py")} - {"__init__"}
    assert not scripts & set(PAGE_ROOMS), "a room that bears a script's name would hide it"


@pytest.mark.parametrize("room", PAGE_ROOMS)
def test_a_room_of_the_pages_imports_only_what_it_may(room: str) -> None:
    may = allowed(room, PAGE_ROOMS) | {room}
    for module, other, _ in _all_imports("pages"):
        if module.startswith(f"pages.{room}.") and other.startswith("pages."):
            assert other.split(".")[1] in may, f"{module} imports {other}"


def test_pages_read_runs_figures_and_constants_and_only_their_jobs_import_more_of_the_engine() -> None:
    plain = {f"eqlin_core.{name}" for name in (*WITHOUT_TORCH, *CONSTANTS)}
    for file in sorted((ROOT / "pages").rglob("*.py")):
        for module, other, late in imports(file, at_runtime=True):
            if other.split(".")[0] != "eqlin_core" or any(other == p or other.startswith(f"{p}.") for p in plain):
                continue
            assert late, f"{module} imports {other} when it is itself imported"
            assert module in JOBS or module.endswith(".jobs"), f"{module} imports {other}"


def test_nothing_goes_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for package in ("eqlin_core", "pages"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for module, other, late in imports(file, at_runtime=True):
                # A package's __init__ holds a docstring or, at the top, names that are loaded when they are used.
                if not late and other.startswith(("eqlin_core.", "pages.")) and module != "eqlin_core":
                    graph.setdefault(module, set()).add(other)
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, [*way, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_of_plain_numbers_import_no_torch(room: str) -> None:
    for module, other, _ in _all_imports("eqlin_core"):
        if _room_of(module) == room:
            assert other.split(".")[0] not in ("torch", "transformers", "streamlit"), f"{module} imports {other}"


def test_the_engine_imports_no_streamlit_and_no_page() -> None:
    for module, other, _ in _all_imports("eqlin_core"):
        assert other.split(".")[0] not in ("streamlit", "pages", "app"), f"{module} imports {other}"


def test_packages_hold_nothing_but_a_docstring() -> None:
    """Reading ``runs`` or ``steering.presets`` must not load what stands beside them."""
    for package in ("eqlin_core", "pages"):
        for file in sorted((ROOT / package).rglob("__init__.py")):
            if file.parent.name in ("eqlin_core", "figures"):  # the two public faces
                continue
            statements = ast.parse(file.read_text(encoding="utf-8")).body
            assert len(statements) <= 1 and all(isinstance(s, ast.Expr) for s in statements), file  # noqa: PT018


def _room_of(module: str) -> str:
    return module.removeprefix("eqlin_core").strip(".").split(".")[0]


def _holds_code(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.py"))
