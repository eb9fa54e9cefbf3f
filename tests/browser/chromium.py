"""The Chromium that the browser tests drive: one that is there already; run as a module, this installs one if not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",  # containers run as root, where the sandbox does not start
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
INSTALL_SECONDS = 600
ADVICE = (
    "There is no Chromium that starts: install Chromium or Google Chrome, or set EQLIN_CHROMIUM to the path of one, "
    "and run the tests again."
)


def candidates() -> Iterator[str | None]:
    """The programs to try, in this order; None stands for Playwright's own."""
    chosen = os.environ.get("EQLIN_CHROMIUM")
    if chosen:
        yield chosen
        return
    for name in NAMES:
        path = shutil.which(name)
        if path:
            yield path
    yield None


def launch(playwright: Playwright) -> Browser:
    """A headless Chromium, the first that starts. Raises RuntimeError, with what to do, when none does."""
    reasons = []
    for path in candidates():
        try:
            return playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            reasons.append(f"{path or 'of Playwright'}: {str(error).splitlines()[0]}")
    raise RuntimeError("\n".join([ADVICE, *reasons]))


def starts() -> str | None:
    """The version of the Chromium that starts, or None when there is none."""
    with sync_playwright() as playwright:
        try:
            browser = launch(playwright)
        except RuntimeError:
            return None
        version = browser.version
        browser.close()
        return version


def install() -> str | None:
    """Install a Chromium, the least intrusive way first. Its version, or None when none could be had."""
    playwright = [sys.executable, "-m", "playwright"]
    may_use_apt = shutil.which("apt-get") is not None and hasattr(os, "geteuid") and os.geteuid() == 0
    if ran(*playwright, "install", "chromium"):
        version = starts()
        if version is None and may_use_apt and ran(*playwright, "install-deps", "chromium"):
            version = starts()  # it had lacked libraries of the system
        if version is not None:
            return version
    if may_use_apt and ran("apt-get", "update", "-qq") and ran("apt-get", "install", "-y", "-qq", "chromium"):
        return starts()
    return None


def ran(*command: str) -> bool:
    """Whether the command ended well; what it prints on the way is not shown."""
    print("installing a Chromium:", *command[-3:], flush=True)
    try:
        subprocess.run(
            command,
            check=True,
            timeout=INSTALL_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (subprocess.SubprocessError, OSError):
        return False
    return True


def main() -> int:
    """Make sure that a Chromium starts. 0 when one does."""
    version = starts()
    if version is None and not os.environ.get("EQLIN_CHROMIUM"):
        version = install()
    print(ADVICE if version is None else f"Chromium {version}")
    return 1 if version is None else 0


if __name__ == "__main__":
    sys.exit(main())
