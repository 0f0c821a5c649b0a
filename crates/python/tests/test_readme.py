"""What the README shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


PRINTED = ["wells are deep 2\n", "4\n", "42 completed\n", "{'a.csv': 3, 'b.csv': 4}\n", "4.0\n"]


def test_the_examples_of_the_readme_print_their_results(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sum.py").write_text("result = sum(int(line) for line in open(args['file_path']))")
    for name, text in (("a", "1\n2\n"), ("b", "4\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    for example, printed in zip(examples, PRINTED, strict=True):
        exec(compile(example, str(README), "exec"), {"__name__": "readme"})  # noqa: S102
        assert capsys.readouterr().out == printed
