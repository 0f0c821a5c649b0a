"""What the modules of the wheel `stepwell-dropin` do before they lend their names: look whether another has these.

Two distributions that hold one module overwrite each other's files, and which of both is imported depends on the order
of installation. The wheel never stands in for a library that is there.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata

_OURS = "stepwell-dropin"


@cache
def alone(module: str) -> None:
    """Make sure that no other distribution that is installed has a module of this name.

    Raises:
        ImportError: One has. The message names both, and what to do.
    """
    other = _other(module)
    if other is None:
        return
    name = other.metadata["Name"]
    raise ImportError(
        f"module {module!r} is held by two distributions that are installed, {_OURS!r} and {name!r} {other.version}: "
        f"uninstall both (`pip uninstall {_OURS} {name}`), then install the one that is to be used; what is imported "
        f"from `stepwell.compat.{module}` goes with either",
        name=module,
    )


def _other(module: str) -> metadata.Distribution | None:
    # One that was installed from its source in place lists no files; most are called as their module is.
    try:
        return metadata.distribution(module)
    except metadata.PackageNotFoundError:
        pass
    holding = (found for found in metadata.distributions() if _holds(found, module))
    return next((found for found in holding if found.metadata["Name"] != _OURS), None)


def _holds(found: metadata.Distribution, module: str) -> bool:
    # As text: `files` reads each line of what may be hundreds of distributions as CSV.
    record = f"\n{found.read_text('RECORD') or ''}"
    if f"\n{module}/" in record or f"\n{module}.py," in record:
        return True
    return module in (found.read_text("top_level.txt") or "").split()
