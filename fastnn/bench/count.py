"""Instructions per call under valgrind's callgrind: for changes that no clock on a busy machine can see."""

import math
import platform
import shutil

from . import BenchError, rounds, sides, store

LIMIT = 1.01
REPEATABLE = 0.001  # two counts of the same code agree to this, and may put a change at the limit just below it


def count(a: str, b: str | None, given, say) -> dict:
    """The result for A, or for B against A, as a comparison's: verdict regression where B takes more than the limit."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise BenchError("valgrind is not installed (apt install valgrind); `count` needs it, `compare` does not")
    if platform.machine() not in ("x86_64", "AMD64"):
        raise BenchError(f"`count` knows valgrind's requests for x86-64 only, not {platform.machine()}")
    project = given.project
    result: dict = {"tests": {}, "failures": {}, "message": None, "unit": "instructions", "rounds": 1}
    with sides.workspace() as folder:
        say(f"preparing {a}{f' and {b}' if b else ''}")
        pair = [sides.prepare(a, project, folder / "a", files=b is None)]
        pair += [sides.prepare(b, project, folder / "b", files=True)] if b else []
        tree = sides.benchmark_files(pair[0], pair[-1], project, folder)
        given.path = rounds.paths(tree, given.path)
        out = str(folder / "callgrind")
        prefix = [valgrind, "--tool=callgrind", "--instr-atstart=no", "--combine-dumps=no", "--quiet"]
        found = []
        for side in pair:
            say(f"counting {side.name}")
            given.seconds = None
            run = rounds.run_once(
                side, tree, given, folder, prefix=[*prefix, f"--callgrind-out-file={out}"], count=out, machine=True
            )
            found.append(run)
            for name, failure in run["failures"].items():
                result["failures"].setdefault(name, f"{side.name}: {failure}")
    result |= {"a": pair[0].describe(), "b": pair[-1].describe()}
    result |= {"machine": store.machine(found[-1]["machine"]), "machine_info": found[-1]["machine"]}
    for name in found[0]["tests"].keys() & found[-1]["tests"].keys() - result["failures"].keys():
        counts = [run["tests"][name]["median"] for run in (found[0], found[-1])]
        limit = found[-1]["limits"].get(name, {}).get("instructions", LIMIT)
        ratio = counts[1] / counts[0]
        result["tests"][name] = {
            "logs": [math.log(ratio)],
            "seconds": ([counts[0]], [counts[1]]),
            "limit": limit,
            **dict.fromkeys(("ratio", "low", "high"), ratio),
            "verdict": "regression" if ratio > limit - REPEATABLE else "fine",
        }
    return result
