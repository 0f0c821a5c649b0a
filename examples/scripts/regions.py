"""Adds the sales of the last year up by region and by category."""

from collections import defaultdict

year = max(sale["month"] for sale in args["sales"])[:4]
before = str(int(year) - 1)

by_year_and_region = defaultdict(float)
by_category = defaultdict(float)
for sale in args["sales"]:
    by_year_and_region[sale["month"][:4], sale["region"]] += sale["eur"]
    if sale["month"].startswith(year):
        by_category[sale["category"]] += sale["eur"]

total = sum(by_category.values())
regions = [
    {
        "region": region,
        "eur": round(eur, 2),
        "share": round(eur / total, 4),
        "growth": round(eur / by_year_and_region[before, region] - 1, 4),
    }
    for (sold_in, region), eur in by_year_and_region.items()
    if sold_in == year
]
result = {
    "regions": sorted(regions, key=lambda row: -row["eur"]),
    "categories": {name: round(eur, 2) for name, eur in sorted(by_category.items())},
}
