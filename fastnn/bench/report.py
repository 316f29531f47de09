"""What is shown: text, Markdown, one HTML page, and other tools' formats."""

import io
from pathlib import Path

from . import history, store

PLOTS = 40
_ORDER = ("regression", "failed", "undecided", "fine")


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rows(result: dict) -> list[dict]:
    """The tests of a comparison or count, the worst first: name, a, b, ratio, low, high, limit, verdict, note."""
    import numpy as np

    found: list[dict] = []
    for name, test in result["tests"].items():
        failure = result["failures"].get(name)
        show = "{:,.0f}".format if result.get("unit") == "instructions" else duration
        a, b = (show(float(np.median(seconds))) for seconds in test["seconds"])
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
    lines = [f"{'A':>13}{'B':>13}{'B/A':>8}   95 % interval   limit  verdict     test"]
    for row in rows(result):
        if "ratio" in row:
            times = f"{row['a']:>13}{row['b']:>13}{row['ratio']:8.3f}"
            judged = f"{row['low']:.3f} to {row['high']:.3f}  {row['limit']:.3f}  {row['verdict']:10}"
            lines.append(f"{times}   {judged}  {row['name']}{'  ' + row['note'] if row['note'] else ''}")
        else:
            lines.append(f"{'':>57}failed      {row['name']}  {row['note']}")
    return "\n".join(lines)


def per_batch(run: dict) -> list[dict]:
    """Tests called per-sample and per-batch in one stored run: how many times as fast the batches are."""
    times = {bench["fullname"]: bench["stats"]["median"] for bench in run["benchmarks"]}
    pairs = {name: times.get(name.replace("per-sample", "per-batch")) for name in times if "per-sample" in name}
    return [{"name": _short(n), "sample": times[n], "batch": b, "ratio": times[n] / b} for n, b in pairs.items() if b]


def by_backend(run: dict) -> tuple[list[str], list[dict]]:
    """(backends, rows of {name, base, ratios}) of tests parametrized by `backend`: time relative to the first one."""
    found: dict[str, dict[str, float]] = {}
    for bench in run["benchmarks"]:
        backend = (bench.get("params") or {}).get("backend")
        if isinstance(backend, str):
            name = bench["fullname"].replace(f"-{backend}", "").replace(f"{backend}-", "").replace(f"[{backend}]", "")
            found.setdefault(_short(name), {})[backend] = bench["stats"]["median"]
    names = list(dict.fromkeys(backend for times in found.values() for backend in times))
    table = []
    for name, times in found.items():
        if len(times) > 1 and (base := times.get(names[0])):
            ratios = [times[other] / base if other in times else None for other in names[1:]]
            table.append({"name": name, "base": base, "ratios": ratios})
    return names, table


def gather(project: Path) -> dict:
    """All that a page shows: latest comparison, runs, change points, tables, and what was wrong with the storage."""
    runs, bad = store.runs(project)
    result = None
    try:
        result = store.read_result(store.latest_result(project))
    except store.Nothing:
        pass
    except store.BenchError as error:
        bad.append(str(error))
    page = {"project": project.name, "bad": bad, "runs": runs, "result": result, "rows": rows(result) if result else []}
    page["verdict"] = verdict(result) if result else None
    page["changes"] = history.all_changes(runs, lambda machine: store.floors(project, machine))
    latest = runs[-1] if runs else {"benchmarks": []}
    page["machine"] = store.machine(latest["machine_info"]) if runs else None
    page["per_batch"] = per_batch(latest)
    page["backends"], page["by_backend"] = by_backend(latest)
    return page


def markdown(page: dict) -> str:
    """For a pull request or a CI summary: what is not fine in full, the rest folded."""
    lines = [f"## Benchmarks of {page['project']}", ""]
    result = page["result"]
    if result:
        counts = {word: sum(row["verdict"] == word for row in page["rows"]) for word in _ORDER}
        names = f"`{result['a']['name']}` against `{result['b']['name']}`"
        lines += [f"{names}, {result['rounds']} rounds: **{page['verdict']}**"]
        lines += [f"({', '.join(f'{n} {word}' for word, n in counts.items() if n)}).", ""]
        lines += [result["message"], ""] if result["message"] else []
        measured = [row for row in page["rows"] if "ratio" in row]
        lines += _table([row for row in measured if row["verdict"] != "fine"][:PLOTS])
        lines += ["", *(f"- failed: {code(row['name'])}: {row['note']}" for row in page["rows"] if row["note"])]
        if fine := [row for row in measured if row["verdict"] == "fine"]:
            lines += ["", f"<details><summary>{len(fine)} fine</summary>", "", *_table(fine), "", "</details>"]
    if page["changes"]:
        lines += ["", "Changes in the history:", "", "| test | after/before | since | commit |", "|---|--:|---|---|"]
        for c in page["changes"][:PLOTS]:
            lines.append(f"| {code(c['test'])} | {c['ratio']:.3f} | {c['date'][:16]} | {c['commit']} |")
    if page["per_batch"]:
        lines += ["", "| network | per sample | per batch | batches are |", "|---|--:|--:|--:|"]
        for r in page["per_batch"]:
            times = f"{duration(r['sample'])} | {duration(r['batch'])} | {r['ratio']:.1f}x as fast"
            lines.append(f"| {code(r['name'])} | {times} |")
    return "\n".join(lines) + "\n"


def _table(rows: list[dict]) -> list[str]:
    """Lines of a Markdown table of measured tests; none without tests."""
    lines = ["| test | A | B | B/A | 95 % interval | limit | |", "|---|--:|--:|--:|--:|--:|---|"] if rows else []
    for r in rows:
        numbers = f"{r['a']} | {r['b']} | {r['ratio']:.3f} | {r['low']:.3f} to {r['high']:.3f} | {r['limit']:.3f}"
        lines.append(f"| {code(r['name'])} | {numbers} | {r['verdict']} |")
    return lines


def code(name: str) -> str:
    """A test's name as code in Markdown, in a table too: any text may be the id of a test."""
    name = " ".join(name.split())
    if not any(character in name for character in "|`<>&\\"):
        return f"`{name}`"
    return f"<code>{''.join(f'&#{ord(c)};' if not (c.isalnum() or c in ' _.:/=,-') else c for c in name)}</code>"


def html(page: dict) -> str:
    """One self-contained page: everything of `gather`, and a plot of every series that has a history."""
    import jinja2

    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": duration, "short": _short}
    found = history.series(page["runs"])
    changed = {(c["machine"], c["test"]) for c in page["changes"]}
    order = sorted((key for key in found if len(found[key]) > 1), key=lambda key: (key not in changed, key))
    plots = [{"machine": m, "test": t, "svg": _plot(found[m, t])} for m, t in order[:PLOTS]]
    return environment.from_string(template).render(**page, plots=plots, left_out=max(0, len(order) - PLOTS))


def _plot(points: list[dict]) -> str:
    """A series as SVG, its change points marked."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "", "font.size": 8}):
        figure = Figure(figsize=(4.6, 1.9), layout="constrained")
        axes = figure.add_subplot()
        scale = 1e3 if points[-1]["seconds"] >= 1e-3 else 1e6
        axes.plot([p["seconds"] * scale for p in points], color="#2a6f97", marker="o", markersize=2.5, linewidth=1)
        for change in history.changes(points):
            axes.axvline(change["at"] - 0.5, color="#e07a1f", linewidth=1)
            axes.text(change["at"] - 0.4, 0.03, f"x{change['ratio']:.2f}", transform=axes.get_xaxis_transform())
        axes.set_ylim(0, 1.15 * max(p["seconds"] for p in points) * scale)
        axes.set_ylabel("ms" if scale == 1e3 else "us")
        ends = [0, len(points) - 1]
        axes.set_xticks(ends, [f"{points[i]['date'][:10]}\n{points[i]['commit']}" for i in ends])
        axes.grid(alpha=0.3)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def github_action_benchmark(run: dict) -> list[dict]:
    """The format customSmallerIsBetter of benchmark-action/github-action-benchmark."""
    found = []
    for bench in run["benchmarks"]:
        spread = f"± {bench['stats'].get('iqr', 0):.3g}"
        found.append({"name": bench["fullname"], "unit": "s", "value": bench["stats"]["median"], "range": spread})
    return found


def bencher(run: dict) -> dict:
    """Bencher Metric Format: latency in nanoseconds, with the quartiles as bounds."""
    metrics = {}
    for bench in run["benchmarks"]:
        stats = {key: bench["stats"].get(key, bench["stats"]["median"]) * 1e9 for key in ("median", "q1", "q3")}
        latency = {"value": stats["median"], "lower_value": stats["q1"], "upper_value": stats["q3"]}
        metrics[bench["fullname"]] = {"latency": latency}
    return metrics


def _short(name: str) -> str:
    """A test's name without its file."""
    return name.split("::", 1)[-1]
