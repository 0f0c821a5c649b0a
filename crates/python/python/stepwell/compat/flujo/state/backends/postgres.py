"""The backend of that name."""

from stepwell.backends import PostgresBackend

__all__ = ["PostgresBackend"]
