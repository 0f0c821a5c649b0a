"""What is asked of a terminal before anything is written to it or read from it."""

from __future__ import annotations

import os


def is_ours(fd: int) -> bool:
    """Return whether it is a terminal that this process may use without being stopped."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


def printable(text: str) -> str:
    """Return a text with nothing in it that a terminal obeys, or that hides or turns what follows."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
