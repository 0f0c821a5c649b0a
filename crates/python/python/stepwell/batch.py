"""What came of a batch: many files, one run, one summary."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

from stepwell import _native


class BatchResult:
    """What came of a batch. It holds everything, and saves nothing unasked."""

    batch_id: str
    """Its run."""
    created_at: datetime
    """When the run was created."""
    total_files: int
    """How many files there are."""
    successful: int
    """How many were processed well."""
    failed: int
    """How many were not."""
    processing_time: float
    """Seconds from the start of the run to its end."""
    parameters: dict[str, Any]
    """What was asked for: `method`, `prompt`, `model`, `protocol`, `directory` and `pattern`; else None."""
    results: dict[str, dict[str, Any]]
    """What came of each file, by its path: `{"status": "success", "content", "result", "output"}`, where `content` is
    text and `output` what was printed, or `{"status": "failed", "error", "code", "data"}`."""

    def __init__(self, native: _native.BatchResult) -> None:
        """Made by the methods that carry a batch out."""
        self._native = native
        told = native.to_dict()
        self.batch_id = told["batch_id"]
        # Python 3.10 does not read the Z of RFC 3339.
        self.created_at = datetime.fromisoformat(told["created_at"].replace("Z", "+00:00"))
        self.total_files = told["total_files"]
        self.successful = told["successful"]
        self.failed = told["failed"]
        self.processing_time = told["processing_time"]
        self.parameters = told["parameters"]
        self.results = told["results"]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data, with a `summary`."""
        return self._native.to_dict()

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_markdown(self) -> str:
        """Return all of it as a page of Markdown."""
        return self._native.to_markdown()

    def save_to_json(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to a file. Whatever happens meanwhile, the file is the old one or the new one.

        Raises:
            FileNotFoundError: There is no such directory.
            OSError: The file cannot be written.
        """
        self._native.save_to_json(path)

    def save_to_markdown(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to a file, as `save_to_json` does."""
        self._native.save_to_markdown(path)

    def __repr__(self) -> str:
        """Show which batch it is, and how it went."""
        told = f"{self.total_files} files, {self.successful} successful, {self.failed} failed"
        return f"BatchResult({self.batch_id!r}, {told})"
