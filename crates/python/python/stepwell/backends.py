"""Where runs are kept, in the words of those who give an object for it. A URL is taken wherever one of these is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stepwell import _checks, _engines, _native
from stepwell.errors import BackendUnavailableError, ConfigurationError

if TYPE_CHECKING:
    from stepwell._border import Border


class _Backend:
    """A store by its URL, opened when it is used first."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """The URL of the store."""
        return self._url

    async def close(self) -> None:
        """Close what this process has open of it; steps in hand end first."""
        await _engines.closed(key_of(self))

    def __repr__(self) -> str:
        """Show where it is."""
        return f"{type(self).__name__}({self._url!r})"


class SQLiteBackend(_Backend):
    """One SQLite file, which several processes of one machine may use. It is opened, or made, at first use.

    A file that is not ours is refused and left as it is.

    >>> SQLiteBackend("/data/ops.db").url
    'sqlite:///data/ops.db'
    """

    def __init__(self, path: str | Path) -> None:
        """Name a file."""
        if not str(path):
            raise ConfigurationError("a SQLiteBackend needs the path of a file, such as 'ops.db'")
        self._path = Path(path).expanduser().absolute()
        super().__init__(f"sqlite://{self._path}")

    def __repr__(self) -> str:
        """Show which file it is."""
        return f"SQLiteBackend({str(self._path)!r})"


class PostgresBackend(_Backend):
    """A Postgres database.

    This version has no store for it: whoever uses it is told so, and nothing else is used instead.
    """

    def __init__(self, url: str) -> None:
        """Name a database by its URL, `postgresql://` or `postgres://`."""
        if not url.startswith(("postgresql://", "postgres://")):
            raise ConfigurationError(f"a PostgresBackend needs a URL postgresql://…, not {url!r}")
        super().__init__(url)

    def __repr__(self) -> str:
        """Show that it is one, and not what its URL holds."""
        return "PostgresBackend(…)"


class InMemoryBackend(_Backend):
    """A store in memory, gone with the process. Each object is one store, shared by all who are given it."""

    def __init__(self) -> None:
        """Make a store."""
        super().__init__("memory:")

    def __repr__(self) -> str:
        """Show that it is one."""
        return "InMemoryBackend()"


#: What names a store: a backend, a URL, or nothing for that of the project.
Backend = str | _Backend | None


def key_of(backend: Backend) -> _engines.Key:
    """Return what the engine of a store is known by.

    Raises:
        BackendUnavailableError: There is no store for such a URL in this version.
    """
    url = backend.url if isinstance(backend, _Backend) else backend
    if url is not None and not isinstance(url, str):
        raise ConfigurationError(f"a store is given by a backend or a URL, not by {_checks.shown(url)}")
    if url is not None and url.startswith(("postgresql:", "postgres:")):
        raise BackendUnavailableError(
            "this version of Stepwell has no store for Postgres",
            hint="use a SQLiteBackend, or a URL sqlite://PATH",
            retryable=False,
        )
    return _engines.key(url, owner=backend if isinstance(backend, InMemoryBackend) else None)


async def held(backend: Backend, border: Border) -> _native.Engine:
    """Return the engine of a store for somebody who will release it; opened if nobody has yet."""
    return await _engines.held(key_of(backend), border, keep=isinstance(backend, InMemoryBackend))


def is_open(backend: Backend, engine: _native.Engine) -> bool:
    """Return whether an engine is still that of a store."""
    return _engines.is_open(key_of(backend), engine)


async def released(backend: Backend) -> None:
    """Close the engine of a store if nobody else uses it. A store in memory stays as long as its backend is open."""
    await _engines.released(key_of(backend))
