"""What is in a CSV file: its rows, its columns, and how many cells of each are empty."""

import csv

with open(args["file_path"], newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
if not rows:
    raise ValueError("no rows")

empty = {name: sum(not row[name] for row in rows) for name in rows[0]}
result = {"rows": len(rows), "columns": list(empty), "empty": {name: n for name, n in empty.items() if n}}
