"""Pages of the guide, typed as they stand.

A block `python file=hello.py` is written to that file, a block `sh` is typed into a shell, and a block `text` after it
is what that printed. Blocks of the kind `console` are for people: what they show needs a terminal
or a build.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

#: A worker that a line leaves running would keep the output open.
_ENDS_WITH_ITS_JOBS = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"

#: What is another each time.
_VARIES = {
    r"wait_[0-9a-f]{20}": "WAIT",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "TIME",
    r"\d+\.\d+ ?s\b": "SECONDS",
    r"[ =]+(?=\S* passed| *\[100%\])": " ",
}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    kind: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that it is written to."""
        _, _, name = self.kind.partition(" file=")
        return name or None


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, in their order."""
    return [Block(kind, text) for kind, text in _FENCE.findall(text)]


class Reader:
    """Someone who types a page into a shell, in a directory of their own."""

    def __init__(self, home: Path) -> None:
        """Give them an empty project, and a path with the Python and the command of these tests."""
        self.project = home / "project"
        (self.project / ".stepwell").mkdir(parents=True)
        programs = home / "bin"
        programs.mkdir()
        for name, command in {"python": "", "stepwell": " -m stepwell"}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n')
            (programs / name).chmod(0o755)
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("STEPWELL_")}
        # As on a terminal, so that what is printed before a kill is seen.
        self._env |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}

    def types(self, commands: str) -> str:
        """Type some lines; return what they print."""
        shell = subprocess.Popen(
            ["bash", "-e", "-c", _ENDS_WITH_ITS_JOBS + commands],
            cwd=self.project,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            printed, told = shell.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            printed, told = shell.communicate()
        assert shell.returncode == 0, f"{commands}{printed}{told}"
        return printed

    def follows(self, page: list[Block]) -> Iterator[tuple[str, str, str]]:
        """Follow a page; yield the commands that it tells the outcome of, what it tells and what they printed."""
        commands = printed = ""
        for block in page:
            if block.file is not None:
                (self.project / block.file).write_text(block.text)
            elif block.kind == "sh":
                commands, printed = block.text, self.types(block.text)
            elif block.kind == "text":
                yield commands, alike(block.text), alike(printed)


def alike(printed: str) -> str:
    """Return what was printed without what is another each time."""
    for pattern, word in _VARIES.items():
        printed = re.sub(pattern, word, printed)
    return printed
