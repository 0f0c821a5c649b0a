"""Plays a supplier's price list over a bad line: the first `breaks` calls break, later ones answer.

Each attempt runs in a fresh interpreter, so the calls are counted in a file. A supplier that always breaks has
`breaks: -1`.
"""

import pathlib

counter = pathlib.Path(args["out"]) / f"{args['supplier']}.calls"
counter.parent.mkdir(parents=True, exist_ok=True)
calls = int(counter.read_text(encoding="utf-8")) + 1 if counter.exists() else 1
if args["breaks"] < 0 or calls <= args["breaks"]:
    counter.write_text(str(calls), encoding="utf-8")
    raise ConnectionError(f"{args['supplier']}: connection reset (call {calls})")
counter.unlink(missing_ok=True)
result = {"supplier": args["supplier"], "calls": calls, "prices": args["prices"]}
