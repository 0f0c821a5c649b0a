"""Counts the shops and what a square metre of each region sold in the last year."""

import csv
from collections import defaultdict

last_month = max(sale["month"] for sale in args["sales"])
year = last_month[:4]
sold = defaultdict(float)
for sale in args["sales"]:
    if sale["month"].startswith(year):
        sold[sale["region"]] += sale["eur"]

with open(args["path"], encoding="utf-8", newline="") as file:
    stores = list(csv.DictReader(file))
open_now = [store for store in stores if not store["closed"]]

floor, count = defaultdict(int), defaultdict(int)
for store in open_now:
    floor[store["region"]] += int(store["floor_m2"])
    count[store["region"]] += 1

result = {
    "open": len(open_now),
    "opened": [store["city"] for store in stores if store["opened"].startswith(year)],
    "closed": [store["city"] for store in stores if store["closed"].startswith(year)],
    "regions": {
        region: {"stores": count[region], "floor_m2": floor[region], "eur_per_m2": round(sold[region] / floor[region])}
        for region in sorted(floor)
    },
}
