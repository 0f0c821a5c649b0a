"""Stepwell runs workflows and AI agents so that no step is ever lost."""

from stepwell._native import __version__

__all__ = ["__version__"]
