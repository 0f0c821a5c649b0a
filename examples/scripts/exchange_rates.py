"""Plays an exchange-rate service that is not always there, so that a retry can be seen at work.

The rule is simple: it refuses the first `refuse` calls and answers the next one. Each attempt runs in a fresh
interpreter, so the calls are counted in a file beside the report; the answer removes it, and the next run sees the
same two refusals.
"""

import csv
import pathlib

counter = pathlib.Path(args["counter"])
calls = int(counter.read_text(encoding="utf-8")) + 1 if counter.exists() else 1
if calls <= args["refuse"]:
    counter.write_text(str(calls), encoding="utf-8")
    raise ConnectionError(f"exchange-rate service: 503, try again later (call {calls})")
counter.unlink(missing_ok=True)

rates = {"EUR": {}}
with open(args["path"], encoding="utf-8", newline="") as file:
    for row in csv.DictReader(file):
        rates.setdefault(row["currency"], {})[row["month"]] = float(row["eur_per_unit"])
        rates["EUR"][row["month"]] = 1.0
print(f"answered at call {calls}")
result = {"rates": rates, "calls": calls}
