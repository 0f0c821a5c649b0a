"""G31, G33 and G34: values that want to be code, ways out of the roots, and what a task can see of others and of us."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stepwell.compat.gleitzeit import GleitzeitClient
from stepwell.compat.gleitzeit.core.errors import InvalidParameterError, TaskError

from .words import script

#: Texts that break out of something: quotes, comments, escapes, line ends, references, shells.
HOSTILE = [
    "'; open('owned', 'w'); '",
    "\"; open('owned', 'w'); \"",
    "'''\nopen('owned', 'w')\n'''",
    '"""\nopen(\'owned\', \'w\')\n"""',
    "\ropen('owned', 'w')\r",
    "\\",
    "\\N{BULLET} \\x41 \\u0041",
    "{open('owned', 'w')}",
    "{{}} %s %(x)s",
    "${value}",
    "$${value}",
    "a\x00b",
    "\u2028open('owned', 'w')\u2029",
    "$(touch owned) `touch owned`",
    "# no comment",
    "x" * 100_000,
]
#: Other values, which code is given as they are and text as JSON.
VALUES: list[Any] = [None, True, -7, 2.5, [1, "'"], {'"': "}"}]
#: Where a reference may stand, each resulting in the text of the value.
TEXTS = [
    "result = '${v}'",
    'result = "${v}"',
    "result = '''${v}'''",
    "result = f'${v}'",
    'result = f"""${v}"""',
    "result = '' '${v}' ''  # ${v}",
]


async def test_g31_a_value_in_code_is_data_wherever_it_stands(client: GleitzeitClient, project: Path) -> None:
    tasks = [script("values", "result = args['texts']", args={"texts": "${input.texts}"})]
    for at in range(len(HOSTILE)):
        for place, source in enumerate(["result = ${v}", *TEXTS]):
            code = source.replace("${v}", f"${{values.result[{at}]}}")
            tasks.append(script(f"{at}/{place}", code, ("values",)))
    for at in range(len(VALUES)):
        tasks.append(script(f"value {at}", f"result = ${{input.values[{at}]}}"))
    results = await client.run_workflow({"tasks": tasks}, inputs={"texts": HOSTILE, "values": VALUES})
    for at, text in enumerate(HOSTILE):
        for place in range(1 + len(TEXTS)):
            assert results[f"{at}/{place}"]["result"] == text
    for at, value in enumerate(VALUES):
        result = results[f"value {at}"]["result"]
        assert (type(result), result) == (type(value), value)
    assert not (project / "owned").exists()


async def test_g31_single_calls_take_their_text_as_it_is(client: GleitzeitClient) -> None:
    view = await client.execute_python(code="result = ['${x}', '$${x}', '$', args]", args={"a": "${x}"})
    assert view["result"] == ["${x}", "$${x}", "$", {"a": "${x}"}]


async def test_g33_no_path_leads_out_of_the_roots(
    client: GleitzeitClient, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "a.py").write_text("open('owned', 'w')")
    (project / "link.py").symlink_to(outside / "a.py")
    (project / "folder").symlink_to(outside)
    ways = [
        str(outside / "a.py"),
        os.path.relpath(outside / "a.py"),
        "link.py",
        "folder/a.py",
        "folder/../link.py",
        "/etc/hostname",
    ]
    for way in ways:
        by_reference = {"tasks": [script("a", "", file="${input.path}")]}
        for call in (
            client.execute_python(file=way),
            client.run_workflow(by_reference, inputs={"path": way}),
        ):
            with pytest.raises(InvalidParameterError) as refused:
                await call
            assert (refused.value.data["parameter"], refused.value.data["reason"]) == (
                "file",
                "outside_roots",
            )
    result = await client._client.batch("python/execute", {"code": "result = 1"}, files=[*ways, "gone.py"])
    reasons = {path: entry["data"]["reason"] for path, entry in result.results.items()}
    assert reasons == {**dict.fromkeys(ways, "outside_roots"), "gone.py": "not_found"}
    assert not (project / "owned").exists()


async def test_g33_a_link_that_is_exchanged_gains_nothing(client: GleitzeitClient, project: Path) -> None:
    (project / "a.py").write_text("result = 1")
    (project / "b.py").write_text("open('owned', 'w')")
    swap = "import os; os.remove('a.py'); os.symlink('/etc/hostname', 'a.py')"
    tasks = [script("swap", swap), script("a", "", ("swap",), file="a.py")]
    with pytest.raises(InvalidParameterError) as refused:
        await client.run_workflow({"tasks": tasks})
    assert refused.value.data["reason"] == "outside_roots"


async def test_g34_secrets_of_the_parent_are_absent(
    client: GleitzeitClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    view = await client.execute_python(code="import os; result = [*os.environ]")
    allowed = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"}
    assert {name for name in view["result"] if not name.startswith("LC_")} <= allowed


SPOILS = """
import builtins, json, math, os, signal
builtins.spoilt = math.spoilt = True
json.dumps = None
os.environ["SPOILT"] = "1"
os.chdir("/")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""
LOOKS = """
import builtins, json, math, os, signal
result = [
    hasattr(builtins, "spoilt"), hasattr(math, "spoilt"), json.dumps is None, "SPOILT" in os.environ,
    os.getcwd() == "/", signal.getsignal(signal.SIGTERM) == signal.SIG_IGN,
]
"""


async def test_g34_nothing_that_a_task_changes_is_seen_by_the_next(client: GleitzeitClient) -> None:
    tasks = []
    # From one to the other a thousand times.
    for n in range(500):
        tasks.append(script(f"spoils {n}", SPOILS, (f"looks {n - 1}",) if n else ()))
        tasks.append(script(f"looks {n}", LOOKS, (f"spoils {n}",)))
    results = await client.run_workflow({"tasks": tasks})
    assert all(results[f"looks {n}"]["result"] == [False] * 6 for n in range(500))


async def test_g34_limits_hold_and_nothing_of_ours_is_open(project: Path) -> None:
    (project / "stepwell.toml").write_text('[python]\nmemory = "256 MiB"\n')
    async with GleitzeitClient(persistence="memory") as client:
        with pytest.raises(TaskError) as failed:
            await client.execute_python(code="x = bytearray(512 << 20)")
        assert failed.value.data["reason"] == "memory"
        look = """
import os
paths = [f"/proc/self/fd/{fd}" for fd in range(64)]
result = [os.readlink(path) for path in paths if os.path.exists(path)]
"""
        links = (await client.execute_python(code=look))["result"]
        kinds = sorted(link.split(":")[0] for link in links)
        assert (len(kinds), set(kinds) <= {"/dev/null", "pipe", "socket"}) == (4, True), links
