"""Holds the sales of the last four quarters against what was planned."""

import csv
from collections import defaultdict


def quarter_of(month):
    year, number = month.split("-")
    return f"{year}-Q{(int(number) + 2) // 3}"


actual = defaultdict(float)
for sale in args["sales"]:
    actual[quarter_of(sale["month"]), sale["region"]] += sale["eur"]

with open(args["path"], encoding="utf-8", newline="") as file:
    targets = {(row["quarter"], row["region"]): float(row["target_eur"]) for row in csv.DictReader(file)}

quarters = sorted({quarter for quarter, _ in targets})[-4:]
rows = [
    {
        "quarter": quarter,
        "region": region,
        "eur": round(actual[quarter, region], 2),
        "target": target,
        "reached": round(actual[quarter, region] / target, 4),
    }
    for (quarter, region), target in sorted(targets.items())
    if quarter in quarters
]
result = {
    "quarters": quarters,
    "rows": rows,
    "missed": [row for row in rows if row["reached"] < 1],
}
