from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.report import render_many, write_report

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome", "chrome"])), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium browser")


def browse(page: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """Load a page from disk; return what the browser printed and its console messages."""
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"
    command = [
        str(CHROMIUM),
        *(f"--{flag}" for flag in quiet.split()),
        f"--user-data-dir={profile}",
        "--enable-logging=stderr",
    ]
    command += ["--v=0", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


@pytest.fixture
def page(report, pictures, tmp_path):
    report["models"][3]["role"] = "</script><script>document.title = 'taken'</script>"
    return write_report(tmp_path / "run", report, pictures=pictures)


def test_the_page_loads_from_disk_without_a_word_on_the_console(page, tmp_path):
    dom, console = browse(page, tmp_path / "profile", "--dump-dom")
    assert console == []
    assert dom.count("data-tip=") > 30  # the script ran: it moved the tips of every mark
    assert "<title>handwriting: Limbeck report</title>" in dom


def test_the_page_cannot_reach_out_nor_run_what_is_smuggled_in(page, tmp_path):
    smuggled = "<img src='http://127.0.0.1:9/x.png'><script>document.title = 'taken'</script></main>"
    page.write_text(page.read_text().replace("</main>", smuggled))
    dom, console = browse(page, tmp_path / "profile", "--dump-dom")
    assert len([line for line in console if "Content Security Policy" in line]) >= 2
    assert "<title>handwriting: Limbeck report</title>" in dom


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (400, True)])
def test_the_page_paints(page, tmp_path, width, dark):
    shot = tmp_path / "shot.png"
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    browse(
        page, tmp_path / "profile", f"--screenshot={shot}", f"--window-size={width},1600", "--hide-scrollbars", *options
    )
    pixels = np.asarray(Image.open(shot).convert("L"), dtype=float)
    assert pixels.shape == (1600, width)
    assert (pixels.mean() < 80) == dark
    rows_with_ink = (pixels.std(axis=1) > 5).mean()
    assert rows_with_ink > 0.5


def test_runs_side_by_side_load_too(report, tmp_path):
    other = copy.deepcopy(report)
    other["run"] = "second"
    page = tmp_path / "runs.html"
    page.write_text(render_many([report, other]))
    dom, console = browse(page, tmp_path / "profile", "--dump-dom")
    assert console == []
    assert dom.count("data-tip=") == 2
