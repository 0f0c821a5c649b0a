"""Reads the sales, leaves out lines that cannot be counted, and says which."""

import csv

rows, problems, seen = [], [], set()
with open(args["path"], encoding="utf-8", newline="") as file:
    for line, row in enumerate(csv.DictReader(file), start=2):
        key = (row["month"], row["region"], row["category"])
        if key in seen:
            problems.append(f"line {line}: {' / '.join(key)} stands twice, counted once")
        elif not row["revenue"]:
            problems.append(f"line {line}: {' / '.join(key)} has no revenue, left out")
        else:
            rows.append({**row, "units": int(row["units"]), "revenue": float(row["revenue"])})
        seen.add(key)

for problem in problems:
    print(problem)
result = {
    "rows": rows,
    "problems": problems,
    "first_month": min(row["month"] for row in rows),
    "last_month": max(row["month"] for row in rows),
}
