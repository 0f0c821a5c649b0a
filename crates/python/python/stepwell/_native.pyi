from typing import Final

__all__ = ["END", "__version__", "main"]

END: Final[str]
__version__: Final[str]

def main(argv: list[str]) -> int: ...
