"""Looks at one order and says what it is worth and what speaks against shipping it."""

order = args["order"]
total = round(sum(line["count"] * line["price"] for line in order["lines"]), 2)
doubts = []
if not order["lines"]:
    doubts.append("has no lines")
if total > args["limit"]:
    doubts.append(f"is worth {total:.2f}, more than {args['limit']}")
result = {"order": order["order"], "country": order["country"], "express": order["express"], "total": total, "doubts": doubts}
