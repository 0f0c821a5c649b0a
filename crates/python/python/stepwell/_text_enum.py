"""Words that are text: what an enumeration of ours is in JSON and in comparisons."""

from enum import Enum


class TextEnum(str, Enum):
    """An enumeration whose members are their lower-case words, also when they are printed.

    It is what `enum.StrEnum` is from Python 3.11 on.
    """

    def __str__(self) -> str:
        """Return the word."""
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        """Return the word, laid out."""
        return str.__format__(self, spec)
