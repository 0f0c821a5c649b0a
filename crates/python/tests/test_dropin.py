"""The wheel `stepwell-dropin`: the names of other libraries, as they are imported where it is installed."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

import stepwell

PYTHON = Path(__file__).parents[1]

#: What programs import, and where it must come from.
NAMES = [
    ("fluffy_agent", "Agent", "stepwell"),
    ("flujo", "Flujo", "stepwell"),
    ("flujo", "TaskClient", "stepwell"),
    ("flujo.client", "TaskClient", "stepwell"),
    ("flujo.client", "PipelineResult", "stepwell"),
    ("flujo.exceptions", "TaskNotFoundError", "stepwell"),
    ("flujo.state.backends.sqlite", "SQLiteBackend", "stepwell"),
    ("flujo.state.backends.postgres", "PostgresBackend", "stepwell"),
    ("flujo.state.backends.memory", "InMemoryBackend", "stepwell"),
    ("gleitzeit", "GleitzeitClient", "stepwell.compat.gleitzeit"),
    ("gleitzeit.core.errors", "GleitzeitError", "stepwell.compat.gleitzeit.core.errors"),
]
MODULES = sorted({module for module, _, _ in NAMES})


class Place:
    """A virtual environment with both packages and nothing else."""

    def __init__(self, path: Path, wheel: Path) -> None:
        venv.create(path, symlinks=True)
        self.python = path / "bin" / "python"
        (self.packages,) = path.glob("lib/python3*/site-packages")
        # As an installation in place does it: the compiled module is that of the tests.
        (self.packages / "stepwell.pth").write_text(str(Path(stepwell.__file__).parents[1]))
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install"]
        subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run code there, isolated from the rest of the machine."""
        return subprocess.run(
            [str(self.python), "-I", "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
        cwd=PYTHON / "dropin",
        check=True,
        capture_output=True,
    )
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"stepwell_dropin-{stepwell.__version__}-py3-none-any.whl"
    return Place(tmp_path_factory.mktemp("place") / "venv", wheel)


@pytest.fixture
def original(request: pytest.FixtureRequest, place: Place) -> Iterator[None]:
    """Install another distribution as far as its metadata go: its directory, a file in it and the text of that."""
    directory, file, text = request.param
    metadata = place.packages / directory
    metadata.mkdir()
    name, version = directory.removesuffix(".dist-info").split("-")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / file).write_text(text)
    yield
    for path in metadata.iterdir():
        path.unlink()
    metadata.rmdir()


@pytest.mark.parametrize(("module", "name", "source"), NAMES)
def test_a_name_is_that_of_stepwell(place: Place, module: str, name: str, source: str) -> None:
    told = place.run(f"import {module}, {source}; print({module}.{name} is {source}.{name})")
    assert (told.stdout, told.stderr) == ("True\n", "")


def test_the_wheel_needs_stepwell_of_its_release(place: Place) -> None:
    told = place.run("from importlib import metadata; print(metadata.requires('stepwell-dropin'))")
    assert told.stdout == f"['stepwell=={stepwell.__version__}']\n"


def test_a_program_runs_unchanged(place: Place) -> None:
    program = """
from flujo import Flujo, Step
print(Flujo(Step("double", lambda n: 2 * n), persist_state=False).run(21).output)
"""
    told = place.run(program)
    assert (told.stdout, told.stderr) == ("42\n", "")


@pytest.mark.parametrize(
    "original",
    [
        # Installed as a wheel, as an old setuptools did it, in place, and as a single file.
        ("other-1.2.dist-info", "RECORD", "flujo/__init__.py,,\nother-1.2.dist-info/RECORD,,\n"),
        ("other-1.2.dist-info", "top_level.txt", "elsewhere\nflujo\n"),
        ("flujo-1.2.dist-info", "INSTALLER", "pip\n"),
        ("other-1.2.dist-info", "RECORD", "other-1.2.dist-info/RECORD,,\nflujo.py,,\n"),
    ],
    indirect=True,
)
@pytest.mark.usefixtures("original")
def test_it_does_not_stand_in_for_an_original_that_is_installed(place: Place) -> None:
    for module in MODULES:
        told = place.run(f"import {module}")
        if module.split(".")[0] != "flujo":
            assert told.stderr == ""
            continue
        message = told.stderr.splitlines()[-1]
        assert message.startswith(
            "ImportError: module 'flujo' is held by two distributions that are installed"
        )
        assert "'stepwell-dropin' and" in message
        assert "1.2: uninstall both" in message


@pytest.mark.parametrize(
    "original",
    [("flujo_tools-1.2.dist-info", "RECORD", "flujo_tools/flujo/__init__.py,,\nflujo_tools/flujo.py,,\n")],
    indirect=True,
)
@pytest.mark.usefixtures("original")
def test_a_distribution_that_merely_sounds_alike_is_none(place: Place) -> None:
    assert place.run("import flujo.client").stderr == ""
