"""Results as Markdown."""

import math

UNITS = (1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (math.inf, 1.0, "s")
OURS, BASE, BEFORE = "fastnn", "numpy", "before"
NOT_PEERS = OURS, BEFORE, "books"  # the books' way is shown beside, but is not a library to be compared with
LEAST = 0.97  # of the speed before; a row whose interval lies wholly below it, twice, has fallen


HEADING = """# Benchmarks: fastnn beside other libraries

Every table is as the tool wrote it, rows where another library is faster included. To repeat them on your machine:

```
pip install '.[bench-peers]'
python bench/peers/run.py --out results                  # FASTNN_DATA=folder with MNIST, for the workload `training`
python bench/peers/run.py --report results               # the tables
python bench/peers/run.py --before OLD/bin/python        # is a row slower than the fastnn of the environment OLD?
```

The last line times the fastnn of this environment and that of another one, block by block in turn, on every workload.
A row falls if the 95 % interval of its ratio (time before / time now) lies wholly below 0.97, and again in a second run
of just these rows with new processes; the status is then 1. It prints the ratio of every row, the lowest first. The
other environment needs NumPy and any fastnn; what that one cannot do is named and not compared.
"""


def page(results) -> str:
    """All results: a table each, and the machine wherever it is another one than above."""
    if not results:
        return "No results."
    results = sorted(results, key=lambda r: (r["workload"], r["dtype"], r["machine"]["threads"]))
    parts, seen = [], None
    for result in results:
        described = _machine(result["machine"])
        if described != seen:
            parts.append(described)
            seen = described
        parts.append(table(result))
    if any(BEFORE in row["peers"] for result in results for row in result["rows"]):
        parts.append(_beside_before(results))
    parts.append(
        "Sizes are those of the installed files. Times are medians, with the interquartile range as a share of the "
        "median. *best peer* and *NumPy* say how many times as fast as these fastnn is. *FMA* and *memory* are the "
        "share of this machine's multiply-add rate and memory bandwidth, measured in the same run, that fastnn "
        "reaches (inputs and results counted once; over 100 % of memory means that they stay in the caches). What "
        "is *wrong* or failed was not timed."
    )
    return "\n\n".join(parts)


def is_low(pair) -> bool:
    """Whether the interval of a ratio before / now lies wholly below LEAST; `pair` is None where there is none."""
    return pair is not None and pair["high"] < LEAST


def has_fallen(row) -> bool:
    """Whether a row is slower than before, in both runs, or fails now."""
    failed = "median" in row["peers"].get(BEFORE, {}) and "failed" in row["peers"].get(OURS, {})
    return failed or (is_low(row.get(BEFORE)) and is_low(row.get("again")))


def _beside_before(results):
    """All rows by their ratio before / now, the lowest first."""
    lines, fallen = [], 0
    for result in results:
        name = f"{result['workload']}, {result['dtype']}, {result['machine']['threads']}"
        for row in result["rows"]:
            ratio = row.get(BEFORE, {"ratio": 0.0})["ratio"]
            if BEFORE in row or has_fallen(row):
                cells = [_cell(row["peers"][peer]) for peer in (BEFORE, OURS)]
                pairs = [_pair(row.get(key)) for key in (BEFORE, "again")]
                lines.append((ratio, [name, row["case"] or "-", *cells, *pairs, "fell" if has_fallen(row) else ""]))
                fallen += has_fallen(row)
    lines.sort(key=lambda line: line[0])
    head = ["workload, dtype, threads", "case", "before", "now", "before / now", "again", ""]
    shown = [head, ["---", "---", *["---:"] * 4, "---"], *(line for _, line in lines)]
    ratios = [ratio for ratio, _ in lines if ratio]
    title = f"### Beside before\n\n{len(lines)} rows, geometric mean {_mean(ratios) or '-'}, {fallen} fell.\n\n"
    return title + "\n".join("| " + " | ".join(line) + " |" for line in shown)


def _pair(pair):
    return f"{pair['ratio']:.2f}x ({pair['low']:.2f} to {pair['high']:.2f})" if pair else ""


def _machine(info):
    return (
        f"{info['cpu']} (family {info['family']}; {', '.join(info['vector'])}), {info['cores']} cores, "
        f"{info['system']}, Python {info['python']}."
    )


def _peers(info):
    return ", ".join(
        f"{name} {peer['version']} ({_megabytes(peer['sizes'])})" if "version" in peer else f"{name}: {peer['missing']}"
        for name, peer in info["peers"].items()
    )


def _megabytes(sizes):
    return f"{sum(sizes.values()) / 1e6:.3g} MB"


def table(result) -> str:
    """One workload and dtype: a row a case, a column a peer, ratios, and a last line of geometric means."""
    rows = result["rows"]
    names = [name for name in result["machine"]["peers"] if any("median" in row["peers"].get(name, {}) for row in rows)]
    extra = sorted({key for row in rows for entry in row["peers"].values() for key in entry} - _TIMING)
    head = ["case", *names]
    compared = OURS in names and not set(names) <= set(NOT_PEERS)
    if compared:
        head += ["best peer", "NumPy"] if BASE in names else ["best peer"]
    limited = ["FMA"] if any(row.get("flops") for row in rows) else []
    limited = [*limited, "memory"] if OURS in names and rows[0]["limits"] and rows[0].get("bytes") else []
    head += limited
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    best_ratios, base_ratios = [], []
    for row in rows:
        times = {name: entry["median"] for name, entry in row["peers"].items() if "median" in entry}
        line = [row["case"] or "-", *(_cell(row["peers"].get(name, {})) for name in names)]
        if compared:
            others = [t for name, t in times.items() if name not in NOT_PEERS]
            line.append(_ratio(best_ratios, min(others, default=None), times.get(OURS)))
            if BASE in names:
                line.append(_ratio(base_ratios, times.get(BASE), times.get(OURS)))
        shares = _shares(row, times.get(OURS), result["dtype"]) if limited else {}
        line += [shares[name] for name in limited]
        lines.append(line)
        for key in extra:
            values = [row["peers"].get(name, {}).get(key) for name in names]
            shown = ["" if v is None else f"{v:.4g}" for v in values]
            lines.append([key, *shown, *[""] * (len(head) - 1 - len(names))])
    if len(best_ratios) > 1:
        means = [_mean(best_ratios)] + ([_mean(base_ratios)] if BASE in names else [])
        least = [f"{min(best_ratios):.2f}x"] + ([f"{min(base_ratios):.2f}x"] if BASE in names and base_ratios else [])
        for text, values in (("geometric mean", means), ("least", least)):
            lines.append([text, *[""] * len(names), *values, *[""] * len(limited)])
    count = result["machine"]["threads"]
    threads = "1 thread" if count == 1 else f"{count} threads"
    heading = f"### {result['workload']}, {result['dtype']}, {threads}"
    title = f"{heading}\n\n{result['what']}\n\n{_peers(result['machine'])}.\n\n"
    return title + "\n".join("| " + " | ".join(line) + " |" for line in lines) + _failures(rows)


_TIMING = {"median", "q1", "q3", "n", "failed"}


def _cell(entry):
    if "median" not in entry:
        return "failed" if entry else ""
    t = entry["median"]
    scale, unit = next((scale, unit) for limit, scale, unit in UNITS if t < limit)
    return f"{t * scale:.3g} {unit} ({(entry['q3'] - entry['q1']) / t:.0%})" if t else "0"


def _ratio(ratios, theirs, ours):
    if not theirs or not ours:
        return ""
    ratios.append(theirs / ours)
    return f"{theirs / ours:.2f}x"


def _mean(ratios):
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}x" if ratios else ""


def _shares(row, ours, dtype):
    if not ours:
        return {"FMA": "", "memory": ""}
    fma = f"{row['flops'] / ours / 1e9 / row['limits'][dtype]:.0%}" if row["flops"] else ""
    return {"FMA": fma, "memory": f"{row['bytes'] / ours / 1e9 / row['limits']['memory']:.0%}"}


def _failures(rows):
    """Each failure once, with the first case that had it."""
    said = {}
    for row in rows:
        for name, entry in row["peers"].items():
            if "failed" in entry:
                said.setdefault((name, entry["failed"]), row["case"])
    return "".join(f"\n\n{name} ({case}): {text}" for (name, text), case in said.items())
