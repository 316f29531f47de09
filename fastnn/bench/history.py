"""Stored runs over time, machine by machine: series and their change points (ruptures)."""

import numpy as np

from . import store

LEAST = 0.005  # what is taken as the noise of a series that seems to have less
WORTH = 1.02  # a smaller change is not reported


def series(runs: list[dict]) -> dict[tuple[str, str], list[dict]]:
    """{(machine, test): [{"date", "commit", "file", "seconds"}, ...] by date}; seconds: the least of a run."""
    found: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        machine = store.machine(run["machine_info"])
        point = {"date": run["datetime"], "commit": str(run["commit_info"].get("id"))[:10], "file": run["file"]}
        for bench in run["benchmarks"]:
            seconds = float(bench["stats"].get("min") or bench["stats"]["median"])
            found.setdefault((machine, bench["fullname"]), []).append(point | {"seconds": seconds})
    return found


def changes(points: list[dict], least: float = WORTH) -> list[dict]:
    """Where the level of one series moved by more than `least`: [{"at", "ratio", "date", "commit", "file"}].

    PELT (Killick et al. 2012) on log-seconds, penalty 3 s^2 log n, s from the median difference of neighbours.
    """
    import ruptures

    logs = np.log([point["seconds"] for point in points])
    if len(logs) < 4:
        return []
    noise = max(LEAST, float(np.median(np.abs(np.diff(logs)))) * 1.4826 / 2**0.5)
    ends = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(logs[:, None]).predict(3 * noise**2 * np.log(len(logs)))
    found = []
    for begin, at, end in zip([0, *ends], ends, ends[1:], strict=False):
        ratio = float(np.exp(np.median(logs[at:end]) - np.median(logs[begin:at])))
        if max(ratio, 1 / ratio) > least:
            found.append({"at": at, "ratio": ratio, **points[at]})
    return found


def all_changes(runs: list[dict], floors) -> list[dict]:
    """The change points of all series, the largest first; `floors(machine)` gives what is noise there."""
    found = []
    for (machine, test), points in series(runs).items():
        noise = floors(machine)
        for change in changes(points, max(WORTH, noise.get(test, noise.get("", 1.0)))):
            found.append(change | {"machine": machine, "test": test})
    return sorted(found, key=lambda change: -abs(np.log(change["ratio"])))


def text(found: list[dict]) -> str:
    lines = [f"{'after/before':>12}  since                       commit      test  (machine)"]
    for c in found:
        lines.append(f"{c['ratio']:12.3f}  {c['date'][:26]:26}  {c['commit']:10}  {c['test']}  ({c['machine']})")
    return "\n".join(lines) if found else "no change points"
