"""Writes the report as Markdown: to a file beside the target first, then renamed, so that nobody reads half of one."""

import os
import pathlib

trend, regions, targets, stores = args["trend"], args["regions"], args["targets"], args["stores"]
path = pathlib.Path(args["path"])


def euro(value):
    return f"{value:,.0f} €"


def percent(value):
    return f"{value:+.1%}"


def bar(value, most, width=30):
    return "█" * max(1, round(value / most * width))


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


most = max(month["eur"] for month in trend["months"])
last_year = [month for month in trend["months"] if month["month"].startswith(trend["year"])]

lines = [f"# Sales {trend['year']}", ""]
lines += [f"- {finding}" for finding in args["findings"]]
lines += ["", "## Month by month", "", "```"]
lines += [f"{month['month']}  {month['eur']:>11,.0f} €  {bar(month['eur'], most)}" for month in last_year]
lines += ["```", "", "## Regions", ""]
lines += table(
    ["Region", "Sales", "Share", f"Against {trend['year_before']}", "Shops", "Sales per m²"],
    [
        [
            row["region"],
            euro(row["eur"]),
            f"{row['share']:.0%}",
            percent(row["growth"]),
            stores["regions"][row["region"]]["stores"],
            euro(stores["regions"][row["region"]]["eur_per_m2"]),
        ]
        for row in regions["regions"]
    ],
)
lines += ["", "## Categories", ""]
lines += table(["Category", "Sales"], [[name, euro(eur)] for name, eur in regions["categories"].items()])
lines += ["", "## Targets reached", ""]
reached = {(row["region"], row["quarter"]): row["reached"] for row in targets["rows"]}
lines += table(
    ["Region", *targets["quarters"]],
    [
        [row["region"], *(f"{reached[row['region'], quarter]:.0%}" for quarter in targets["quarters"])]
        for row in regions["regions"]
    ],
)
lines += ["", "## About the data", ""]
lines += [f"- `sales.csv` {problem}" for problem in args["problems"]]
lines += [f"- exchange rates came at call {args['rate_calls']}"]

text = "\n".join(lines) + "\n"
unfinished = path.with_name(path.name + ".part")
unfinished.write_text(text, encoding="utf-8")
os.replace(unfinished, path)

print(f"wrote {path}")
result = {
    "report": str(path),
    "year": trend["year"],
    "sales_eur": trend["eur"],
    "growth": trend["growth"],
    "targets_missed": len(targets["missed"]),
    "rows_left_out": len(args["problems"]),
    "rate_calls": args["rate_calls"],
}
