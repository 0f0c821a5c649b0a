"""The guide to the Python package and the quick start of the README are typed as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guide import Block, Reader, blocks

ROOT = Path(__file__).parents[3]


def section(text: str, heading: str) -> str:
    """Return a section of a page."""
    [found] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return str(found)


PAGES = {
    "README.md": section((ROOT / "README.md").read_text(), "From Python"),
    **{page: (ROOT / page).read_text() for page in ("docs/guide/python.md", "docs/guide/coming-from.md")},
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_prints_what_it_says(page: str, tmp_path: Path) -> None:
    told = 0
    for commands, expected, printed in Reader(tmp_path).follows(blocks(PAGES[page])):
        assert printed == expected, commands
        told += 1
    assert told


@pytest.mark.parametrize("page", PAGES)
def test_every_program_of_a_page_is_run_and_what_it_prints_is_shown(page: str) -> None:
    page_blocks = blocks(PAGES[page])
    kinds = {block.kind.partition(" file=")[0] for block in page_blocks}
    assert kinds <= {"python", "yaml", "sh", "text", "console"}
    for at, block in enumerate(page_blocks):
        if block.kind.startswith("python"):
            assert block.file, f"{page}: no file is named for\n{block.text}"
            assert is_run(Path(block.file).stem, page_blocks[at + 1 :]), f"{page}: {block.file} is never run"
        if block.kind == "sh" and "python" in block.text:
            assert page_blocks[at + 1].kind == "text", f"{page}: what does this print?\n{block.text}"


def is_run(module: str, later: list[Block]) -> bool:
    return any(block.kind == "sh" and re.search(rf"\b{module}\b", block.text) for block in later)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs")])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PAGES[page])
    assert links
    for link in links:
        assert (ROOT / page).parent.joinpath(link).exists(), link
