"""One script for each of many files, as one run: it looks what is in the CSV files of this repository.

    python examples/python/batch.py

Paths are relative to the directory you run it from: the root of this repository. A file that cannot be read is an
entry of the result that says why, and the others are not held up. `stepwell retry RUN` tries such files again. A report
with everything is written to `examples/out/columns.md`.
"""

import asyncio
from pathlib import Path

from stepwell import Client


async def main() -> None:
    async with Client() as client:
        result = await client.batch(
            "python/execute",
            {"file": "examples/scripts/columns.py", "timeout": 10},
            directory="examples/data",
            pattern="*.{csv,json}",
            max_concurrent=2,
        )
    for path, entry in result.results.items():
        if entry["status"] == "success":
            print(f"{path}: {entry['result']['rows']} rows, columns {', '.join(entry['result']['columns'])}")
        else:
            print(f"{path}: {entry['error']}")
    print(f"{result.successful} of {result.total_files} files in {result.processing_time:.2f} s")
    Path("examples/out").mkdir(exist_ok=True)
    result.save_to_markdown("examples/out/columns.md")


asyncio.run(main())
