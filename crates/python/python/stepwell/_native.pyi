from typing import Final

__all__ = ["__version__", "main"]

__version__: Final[str]

def main(argv: list[str]) -> int: ...
