"""The names of the package, and what its import costs."""

import subprocess
import sys
from pathlib import Path

import pytest

import stepwell

# What costs milliseconds each, and what a program may never use.
DEAR = [
    "ast",
    "asyncio",
    "dataclasses",
    "enum",
    "inspect",
    "json",
    "linecache",
    "logging",
    "re",
    "subprocess",
]


def test_the_import_of_the_package_brings_nothing_dear_along() -> None:
    code = f"bare = {{*sys.modules}}; import stepwell; print({{*{DEAR}}} & {{*sys.modules}} - bare)"
    # Without the module site, which imports what it likes.
    package = str(Path(stepwell.__file__).parent.parent)
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({package!r}); {code}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_every_name_is_there_and_listed() -> None:
    for name in stepwell.__all__:
        assert getattr(stepwell, name) is not None
    assert dir(stepwell) == sorted(stepwell.__all__)
    with pytest.raises(AttributeError, match="module 'stepwell' has no attribute 'Agnet'"):
        getattr(stepwell, "Agnet")  # noqa: B009 - a type checker knows that it is not there
