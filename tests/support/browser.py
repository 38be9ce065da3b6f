"""Headless Chromium, to test pages as a reader sees them.

    dom = Browser(tmp_path).dom(page, after="document.querySelector('button').click()")
    Browser(tmp_path).screenshot(page, tmp_path / "page.png", width=420)

If Chromium is not installed, the tests that use it are skipped. In CI they fail.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--run-all-compositor-stages-before-draw",
)


@dataclass(frozen=True)
class Browser:
    """Chromium with its own profile in a folder."""

    folder: Path

    def dom(self, page: Path, after: str = "") -> str:
        """The document after its own scripts and then the test's script have run; see `with_script`."""
        opened = self.folder / f"opened-{page.name}"
        opened.write_text(with_script(page.read_text(encoding="utf-8"), after), encoding="utf-8")
        done = self._run(opened.as_uri(), "--dump-dom", "--virtual-time-budget=5000")
        return done.stdout

    def screenshot(self, page: Path, image: Path, *, width: int = 1280, height: int = 2400, dark: bool = False) -> Path:
        """A picture of the top of the page, in the light or the dark scheme."""
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        size = f"--window-size={width},{height}"
        self._run(page.as_uri(), f"--screenshot={image}", size, scheme, "--virtual-time-budget=5000")
        return image

    def _run(self, address: str, *flags: str) -> "subprocess.CompletedProcess[str]":
        command = [chromium(), *QUIET, f"--user-data-dir={self.folder / 'profile'}", *flags, address]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def chromium() -> str:
    """The path of Chromium. If it is not installed, skip the test, or fail it in CI."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    return found


def with_script(html: str, script: str) -> str:
    """A copy of a page that also runs a test's script, which the page's own policy would block."""
    html, opened = re.subn(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", html, count=1)
    assert opened == 1
    return html.replace("</body>", f"<script>{script}</script></body>") if script else html
