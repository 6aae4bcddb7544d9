"""Pages in headless Chromium: what a script finds in them at several widths."""

from __future__ import annotations

import base64
import html
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def found_in(pages: Mapping[str, tuple[str, int]], probe: str, folder: Path) -> dict[str, Any]:
    """What the JavaScript function `probe(window, document)` returns for each page.

    A page is its source and the width of the frame it is laid out in: a window has no less than
    500 pixels.
    """
    frames = "".join(
        f'<iframe name="{name}" style="border:0;width:{width}px;height:900px" '
        f'srcdoc="{html.escape(source)}"></iframe>'
        for name, (source, width) in pages.items()
    )
    script = f"""
    window.fired = 0;
    const probe = {probe};
    addEventListener("load", () => {{
      const found = {{}};
      for (const frame of document.querySelectorAll("iframe")) {{
        try {{ found[frame.name] = probe(frame.contentWindow, frame.contentDocument); }}
        catch (error) {{ found[frame.name] = {{ failed: String(error) }}; }}
      }}
      document.body.textContent = "FOUND" + btoa(encodeURIComponent(JSON.stringify(found))) + "END";
    }});"""
    harness = folder / "harness.html"
    harness.write_text(f"<!doctype html><script>{script}</script><body>{frames}", encoding="utf-8")
    out = run_chromium(folder, "--dump-dom", harness.as_uri())
    packed = out.rpartition("FOUND")[2].rpartition("END")[0]
    return json.loads(unquote(base64.b64decode(packed).decode()))  # type: ignore[no-any-return]


def printed(source: str, folder: Path) -> bytes:
    """The page as a PDF."""
    page, pdf = folder / "printed.html", folder / "printed.pdf"
    page.write_text(source, encoding="utf-8")
    run_chromium(folder, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri())
    return pdf.read_bytes()


def run_chromium(folder: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout
