"""The backend of that name."""

from stepwell.backends import InMemoryBackend

__all__ = ["InMemoryBackend"]
