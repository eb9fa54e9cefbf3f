"""What a page loads before anything is computed: neither torch nor transformers, which belong to the worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "pages"


def test_no_page_loads_torch_on_its_own_thread() -> None:
    rooms = sorted(PAGES.glob("*/*.py"))
    parts = [f"pages.{file.parent.name}.{file.stem}" for file in rooms if file.stem != "__init__"]
    assert len(parts) > 30
    pages = [f"pages.{file.stem}" for file in sorted(PAGES.glob("[a-z]*.py"))]
    assert len(pages) == 11
    # A page outside the app only hands over to it, so its imports are all that it does here.
    program = (
        "import importlib, sys\n"
        "from pages.frame import entry\n"
        "entry.through_app = lambda file: sys.exit()\n"
        f"for name in {parts}: importlib.import_module(name)\n"
        f"for name in {pages}:\n"
        "    try: importlib.import_module(name)\n"
        "    except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PAGES.parent)
    assert done.stdout.strip() == "[]"
