from typing import Final

__all__ = ["END", "__version__", "error_codes", "main"]

END: Final[str]
__version__: Final[str]

def main(argv: list[str]) -> int: ...
def error_codes() -> list[tuple[str, int, int, bool]]: ...
