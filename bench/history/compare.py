"""Two records of benchmarks side by side: python bench/history/compare.py BEFORE AFTER [--least 0.95]

A record is a folder of results of `bench/peers/run.py --out`, the one file that `record.py` makes of it, or the JSON of
`pytest bench/ --benchmark-json`. A row's ratio says how many times as fast fastnn is now. On another machine, or under
another load, everything changes together: with `--normalise` each row of peers is first divided by NumPy's time in the
same run. Ends with status 1 if a row fell below `--least`.
"""

import argparse
import json
import math
import sys
from pathlib import Path


def rows(path, normalise) -> dict[str, float]:
    """Name of each row -> seconds of fastnn, or of the benchmark; divided by NumPy's if asked."""
    if path.is_dir():
        results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(path.glob("*.json"))]
    else:
        results = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(results, dict):
        return {b["fullname"]: b["stats"]["median"] for b in results["benchmarks"]}
    found = {}
    for result in results:
        for row in result["rows"]:
            times = {name: peer["median"] for name, peer in row["peers"].items() if "median" in peer}
            if "fastnn" in times and (not normalise or "numpy" in times):
                name = f"{result['workload']} {result['dtype']} {row['case']} threads={result['machine']['threads']}"
                found[name] = times["fastnn"] / (times["numpy"] if normalise else 1)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--least", type=float, default=0.95, help="the smallest ratio that is accepted (default 0.95)")
    parser.add_argument("--normalise", action="store_true", help="relative to NumPy's time in the same run")
    given = parser.parse_args()
    before, after = rows(given.before, given.normalise), rows(given.after, given.normalise)
    ratios = {name: before[name] / after[name] for name in before if name in after}
    if not ratios:
        raise SystemExit("no row is in both records")
    for name, ratio in sorted(ratios.items(), key=lambda item: item[1]):
        print(f"{ratio:6.2f}x  {name}")
    for name in sorted(before.keys() - after.keys()):
        print(f"   gone  {name}")
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    slower = sum(ratio < given.least for ratio in ratios.values())
    print(f"{len(ratios)} rows, geometric mean {mean:.3f}x, {slower} below {given.least}x")
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
