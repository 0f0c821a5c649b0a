"""The backend of that name."""

from stepwell.backends import SQLiteBackend

__all__ = ["SQLiteBackend"]
