"""Adds the sales up by month and compares the last year with the one before."""

from collections import defaultdict

by_month = defaultdict(float)
for sale in args["sales"]:
    by_month[sale["month"]] += sale["eur"]

by_year = defaultdict(float)
for month, eur in by_month.items():
    by_year[month[:4]] += eur
before, last = sorted(by_year)[-2:]

result = {
    "months": [{"month": month, "eur": round(eur, 2)} for month, eur in sorted(by_month.items())],
    "best_month": max(by_month, key=by_month.get),
    "worst_month": min(by_month, key=by_month.get),
    "year": last,
    "year_before": before,
    "eur": round(by_year[last], 2),
    "growth": round(by_year[last] / by_year[before] - 1, 4),
}
