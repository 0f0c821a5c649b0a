"""Every program in `examples/python` does what it says, in a copy of what it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"

#: What each prints at its end.
PRINTS = {
    "batch.py": r"(examples/data/\w+\.csv: \d+ rows, columns .*\n)",
    "workflow_file.py": r"attempts at the exchange rates: \[1, 2, 3\]\n",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("out"))
    return tmp_path


def run(example: str, where: Path) -> str:
    return python(f"examples/python/{example}", cwd=where)


def python(*args: str, cwd: Path | None = None) -> str:
    done = subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_known() -> None:
    assert {file.name for file in (EXAMPLES / "python").glob("*.py")} == {*PRINTS, "pipeline.py"}


@pytest.mark.parametrize("example", sorted(PRINTS))
def test_an_example_does_what_it_says(example: str, copy: Path) -> None:
    assert re.search(PRINTS[example], run(example, copy))


def test_a_workflow_that_is_through_is_not_run_again(copy: Path) -> None:
    first = run("workflow_file.py", copy)
    (copy / "examples" / "out" / "sales_report.md").unlink()
    assert run("workflow_file.py", copy) == first
    assert not (copy / "examples" / "out" / "sales_report.md").exists()


def test_a_file_that_is_no_table_is_told_and_holds_nobody_up(copy: Path) -> None:
    told = run("batch.py", copy)
    assert re.search(r"examples/data/orders\.json: step 'process-orders\.json-\d'", told)
    assert re.search(r"^4 of 5 files in ", told, re.MULTILINE)
    assert (copy / "examples" / "out" / "columns.md").read_text().count("## ") >= 5


def test_the_pipeline_asks_once_and_goes_on_when_it_is_answered(tmp_path: Path) -> None:
    store = str(tmp_path / "newsletter.db")
    first = python(str(EXAMPLES / "python" / "pipeline.py"), store)
    assert first.count("looking up") == 2
    assert "draft: wells in spring are deep\n" in first
    assert "asked: wells in spring are deep\n" in first
    again = python(str(EXAMPLES / "python" / "pipeline.py"), store)
    assert "looking up" not in again
    assert "asked: wells in spring are deep\n" in again
    python("-m", "stepwell", "--store", f"sqlite://{store}", "answer", "newsletter-1", "--text", "send")
    last = python(str(EXAMPLES / "python" / "pipeline.py"), store)
    assert "looking up" not in last
    assert last.endswith("sent as number 42\n")
