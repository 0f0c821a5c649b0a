"""The command line is the same as the one built by cargo, whoever carries it out."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

import stepwell

SCRIPT = [str(Path(sys.executable).with_name("stepwell"))]
MODULE = [sys.executable, "-m", "stepwell"]

ASKS = "id: asks\nsteps: [{name: ask, method: human/ask, params: {prompt: '?'}}]"


def run(words: list[str], cwd: Path, entry: list[str] = SCRIPT) -> subprocess.CompletedProcess[str]:
    """Carry a command out."""
    return subprocess.run([*entry, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def started(words: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a command that goes on; it does not outlive its test."""
    (cwd / "asks.yaml").write_text(ASKS)
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(
        [*SCRIPT, *words], cwd=cwd, stdin=nothing, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_paused(name: str, cwd: Path) -> None:
    """Wait until a run asks its question."""
    patience = time.monotonic() + 30
    while time.monotonic() < patience:
        shown = run(["show", name, "--json"], cwd)
        if shown.returncode == 0 and json.loads(shown.stdout)["status"] == "paused":
            return
    pytest.fail(f"run {name} is not paused after 30 s")


def test_the_version_is_that_of_the_engine(tmp_path: Path) -> None:
    told = run(["--version"], tmp_path)
    assert told.stdout == f"stepwell {stepwell.__version__}\n"
    assert version("stepwell") == stepwell.__version__


@pytest.mark.parametrize("entry", [SCRIPT, MODULE], ids=["script", "module"])
def test_data_goes_to_stdout_talk_to_stderr_and_the_exit_code_says_how_it_went(
    entry: list[str], tmp_path: Path
) -> None:
    listed = run(["list", "--json"], tmp_path, entry)
    assert (listed.returncode, json.loads(listed.stdout)["runs"]) == (0, [])
    unknown = run(["lst"], tmp_path, entry)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "Usage: stepwell [OPTIONS] <COMMAND>" in unknown.stderr
    missing = run(["show", "nobody", "--json"], tmp_path, entry)
    assert (missing.returncode, missing.stdout) == (4, "")
    assert json.loads(missing.stderr)["error"]["name"] == "CONFIGURATION_ERROR"


def test_arguments_that_are_no_text_reach_the_command_as_they_are(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.yaml")
    (tmp_path / name).write_text(ASKS)
    assert run(["validate", name], tmp_path).returncode == 0


def test_commands_that_start_others_start_them_with_the_interpreter(tmp_path: Path) -> None:
    shown = run(["demo", "--yes", "--json"], tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["holds"] is True


def test_interrupts_end_a_run_in_order_and_a_command_that_listens_for_none_at_once(tmp_path: Path) -> None:
    with started(["run", "asks.yaml", "--run-id", "r1"], tmp_path) as asking:
        until_paused("r1", tmp_path)
        with started(["events", "r1", "--follow"], tmp_path) as following:
            assert following.stdout is not None
            assert "RunCreated" in following.stdout.readline()
            following.send_signal(signal.SIGINT)
            assert following.wait(timeout=20) == -signal.SIGINT
        asking.send_signal(signal.SIGINT)
        _, talk = asking.communicate(timeout=20)
    assert asking.returncode == 130, talk
    assert "Traceback" not in talk


def test_standard_streams_that_are_closed_become_no_file_of_the_store(tmp_path: Path) -> None:
    command = f"exec '{SCRIPT[0]}' state set place '{{\"n\": 1}}' <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=30, check=False).returncode == 0
    kept = json.loads(run(["state", "get", "place", "--json"], tmp_path).stdout)
    assert kept["value"] == {"n": 1}


def test_a_reader_that_has_enough_is_no_failure(tmp_path: Path) -> None:
    command = f"'{SCRIPT[0]}' explain DEADLOCK | true; exit ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, timeout=30, check=False)
    assert (told.returncode, told.stderr) == (0, b"")
