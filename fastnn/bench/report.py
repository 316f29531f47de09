"""What is shown: text, Markdown, one HTML page, and other tools' formats."""

_ORDER = ("regression", "failed", "undecided", "fine")


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rows(result: dict) -> list[dict]:
    """The tests of a comparison or count, the worst first: name, a, b, ratio, low, high, limit, verdict, note."""
    import numpy as np

    found = []
    for name, test in result["tests"].items():
        failure = result["failures"].get(name)
        a, b = (float(np.median(seconds)) for seconds in test["seconds"])
        row = {key: test[key] for key in ("ratio", "low", "high", "limit")} | {"name": name, "a": a, "b": b}
        found.append(row | {"verdict": "failed" if failure else test["verdict"], "note": failure})
    for name in result["failures"].keys() - result["tests"].keys():
        found.append({"name": name, "verdict": "failed", "note": result["failures"][name]})
    return sorted(found, key=lambda row: (_ORDER.index(row["verdict"]), -row.get("ratio", 0), row["name"]))


def verdict(result: dict) -> str:
    """The one word for `check`: failed beats regression beats undecided."""
    found = {row["verdict"] for row in rows(result)}
    if result["message"] or "failed" in found:
        return "failed"
    return next(word for word in _ORDER if word in found)


def text(result: dict) -> str:
    """A table for the terminal."""
    lines = [f"{'A':>10}{'B':>10}{'B/A':>8}   95 % interval   limit  verdict     test"]
    for row in rows(result):
        if "ratio" in row:
            times = f"{duration(row['a']):>10}{duration(row['b']):>10}{row['ratio']:8.3f}"
            judged = f"{row['low']:.3f} to {row['high']:.3f}  {row['limit']:.3f}  {row['verdict']:10}"
            lines.append(f"{times}   {judged}  {row['name']}{'  ' + row['note'] if row['note'] else ''}")
        else:
            lines.append(f"{'':>49}failed      {row['name']}  {row['note']}")
    return "\n".join(lines)
