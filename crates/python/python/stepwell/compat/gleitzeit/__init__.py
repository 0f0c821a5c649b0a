"""The Python API of Gleitzeit, over the engine of Stepwell.

Names and shapes are those of its API reference; what they do is what Stepwell does: every outcome is in the store
before the next step begins, and a run goes on after a crash.
"""

from stepwell.batch import BatchResult
from stepwell.compat.gleitzeit.client import GleitzeitClient
from stepwell.compat.gleitzeit.workflow import Workflow

__all__ = ["BatchResult", "GleitzeitClient", "Workflow"]
