"""Time fastnn beside other libraries on the same inputs, in one run.

    python bench/peers/run.py                                     every workload and peer that is there, one thread
    python bench/peers/run.py --workload affine_forward --dtype float32 --case N=100 --peers numpy,torch,fastnn
    python bench/peers/run.py --out results                       also results/<workload>-<dtype>-<threads>.json, .md
    python bench/peers/run.py --report results                    no measurement: all results there as one page
    python bench/peers/run.py --before ENV/bin/python             beside another environment's fastnn, and no other peer

Each peer lives in a process of its own, pinned to the same processors, and sleeps while another one works. A peer's
first result must agree with NumPy's in float64, or it is reported and not timed. Then blocks of calls take turns, A B C
A B C, for some rounds; reported are the median over all blocks, the interquartile range, and ratios. The fastnn that is
timed is the one installed for this interpreter, never this checkout's source folder.

`--before` adds the peer `before`: the fastnn of another environment, whose interpreter runs the same workloads. Each
row then says how many times as fast fastnn is now, with a 95 % interval of the ratios of paired blocks. Rows whose
interval lies wholly below 0.97 are measured again, with new processes; the status is 1 if one lies there twice.
"""

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import environment
import machine
import report
from peers import PEERS
from report import BEFORE, OURS
from workload import load

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """What a peer said instead of an answer; `missing` if it is not installed."""

    def __init__(self, text, missing=False):
        super().__init__(text)
        self.missing = missing


class Worker:
    """A peer in its process. Every method may raise Failed; afterwards the process is still there or started anew."""

    def __init__(self, name, python, threads, processors):
        self.name = name
        self.python = python
        self.threads = threads
        self.processors = processors
        self.process = None

    def ask(self, do, timeout=300, **request):
        if self.process is None:
            self._start()
        timer = threading.Timer(timeout, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            code = self.process.wait()
            self.process = None
            raise Failed(f"its process ended ({code}) in {do}")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"], answer["missing"])
        return answer

    def _start(self):
        variables = environment.variables(self.threads)
        if self.python != sys.executable:
            variables.pop("PYTHONPATH", None)  # it belongs to this environment
        self.process = subprocess.Popen(
            [self.python, "-P", HERE / "worker.py", self.name, str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            cwd=tempfile.gettempdir(),
            env=variables,
            preexec_fn=lambda: machine.pin(self.processors),
        )

    def close(self):
        if self.process is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self.process.stdout.close()
            self.process = None


class Run:
    """The workers of one run, and what it measures."""

    def __init__(self, names, before, threads, rounds, seconds, pause):
        self.processors = machine.cpus()[-threads:]
        if len(self.processors) < threads:
            raise SystemExit(f"--threads {threads}: only {len(self.processors)} processors may be used here")
        self.threads, self.rounds, self.seconds, self.pause = threads, rounds, seconds, pause
        self.info = machine.describe() | {"threads": threads, "peers": {}}
        self.limits = machine.Limits(self.processors)
        self.workers = []
        for name in names:
            worker = Worker(name, before if name == BEFORE else sys.executable, threads, self.processors)
            try:
                self.info["peers"][name] = worker.ask("hello")
                self.workers.append(worker)
            except Failed as e:
                worker.close()
                self.info["peers"][name] = {"missing": "not installed" if e.missing else str(e)}

    def case(self, workload, dtype, sizes, only=None):
        """One row: {"case", "flops", "bytes", "limits", "peers": {name: {"median", ...} or {"failed"}}}.

        With the peer `before` also "before": {"ratio", "low", "high"}, and only the peers in `only` if it is given.
        """
        case = workload(dtype, **sizes)
        row = {"case": case.case, "peers": {}}
        ready, samples = [], {}
        for worker in self.workers:
            if not hasattr(workload, PEERS[worker.name].language) or worker.name in workload.without:
                continue
            if only and worker.name not in only:
                continue
            try:
                answer = worker.ask("prepare", workload=workload.name, dtype=dtype, sizes=sizes)
            except Failed as e:
                row["peers"][worker.name] = {"failed": str(e)}
                continue
            if "absent" in answer:
                continue
            row |= {"flops": answer["flops"], "bytes": answer["bytes"]}
            if answer["error"] <= answer["limit"]:
                ready.append(worker)
                samples[worker.name] = []
            else:
                row["peers"][worker.name] = {
                    "failed": f"wrong: differs from float64 by {answer['error']:.1e}, allowed {answer['limit']:.0e}"
                }
        measured = []
        for i in range(self.rounds):
            measured.append(self.limits.measure())
            for worker in ready[i % len(ready) :] + ready[: i % len(ready)] if ready else []:
                time.sleep(self.pause)
                try:
                    samples[worker.name].append(worker.ask("block", seconds=self.seconds)["samples"])
                except Failed as e:
                    row["peers"][worker.name] = {"failed": str(e)}
                    ready = [other for other in ready if other is not worker]
        for worker in ready:
            entry = _summary([sample for block in samples[worker.name] for sample in block])
            with contextlib.suppress(Failed):
                entry |= worker.ask("finish")
            row["peers"][worker.name] = entry
        if {worker.name for worker in ready} >= {OURS, BEFORE}:
            row[BEFORE] = _paired(samples[BEFORE], samples[OURS])
        row["limits"] = {key: statistics.median(m[key] for m in measured) for key in measured[0]}
        return row

    def close(self):
        for worker in self.workers:
            worker.close()


def _summary(samples):
    q1, median, q3 = statistics.quantiles(samples, n=4) if len(samples) > 1 else samples * 3
    return {"median": median, "q1": q1, "q3": q3, "n": len(samples)}


def _paired(before, now):
    """The ratio of times before / now over blocks of the same round, with its 95 % interval."""
    from fastnn.bench.decide import interval

    median = statistics.median
    logs = [math.log(median(b) / median(n)) for b, n in zip(before, now, strict=True)]
    return dict(zip(("ratio", "low", "high"), interval(logs), strict=True))


def _progress(rows):
    """The rows with a progress bar, or a line each where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        for i, row in enumerate(rows, 1):
            print(f"[{i}/{len(rows)}] {row[0].name} {row[1]} {row[2]}", file=sys.stderr)
            yield row
    else:
        yield from tqdm(rows, unit="row", smoothing=0)


def _arguments(workloads):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", metavar="NAME", help=f"of {', '.join(workloads)}; repeatable")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="only this one (default: all of the workload)")
    parser.add_argument("--case", metavar="REGEX", help="only rows whose name matches, such as 'N=100 '")
    parser.add_argument(
        "--peers", metavar="A,B", help=f"only these of {','.join(PEERS)} (with --before: none but fastnn)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--before", metavar="PYTHON", help="another environment's interpreter: the peer `before`")
    parser.add_argument("--rounds", type=int, help="blocks of each peer and row (default 5; 8 with --before)")
    parser.add_argument("--seconds", type=float, default=0.03, help="length of a block (default 0.03)")
    parser.add_argument("--pause", type=float, help="seconds before each block (default 0.3 with several threads)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write JSON and Markdown there, a file each workload")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--report", type=Path, metavar="DIR", help="print one page of all results in DIR, and stop")
    given = parser.parse_args()
    for name in given.workload or ():
        if name not in workloads:
            parser.error(f"--workload {name}: not one of {', '.join(workloads)}")
    if given.before and not shutil.which(given.before):
        parser.error(f"--before {given.before}: no program")
    alone = [OURS] if given.before else [name for name in PEERS if name != BEFORE]
    given.peers = given.peers.split(",") if given.peers else alone
    for name in given.peers:
        if name not in PEERS:
            parser.error(f"--peers {name}: not one of {', '.join(PEERS)}")
    if given.before:
        given.peers = list(dict.fromkeys([BEFORE, *given.peers, OURS]))
    elif BEFORE in given.peers:
        parser.error(f"--peers {BEFORE}: give its interpreter with --before")
    given.rounds = given.rounds or (8 if given.before else 5)
    if given.before and given.rounds < 6:
        parser.error(f"--rounds {given.rounds}: a 95 % interval wants 6 at least")
    if given.pause is None:
        given.pause = 0.3 if given.threads > 1 else 0.0
    return given


def main():
    workloads = load()
    given = _arguments(workloads)
    if given.report:
        print(report.HEADING)
        print(
            report.page([json.loads(path.read_text(encoding="utf-8")) for path in sorted(given.report.glob("*.json"))])
        )
        return
    rows = [
        (workload, dtype, sizes)
        for name in given.workload or workloads
        for workload in [workloads[name]]
        for dtype in workload.dtypes
        if given.dtype in (None, dtype)
        for sizes in workload.cases
        if given.case is None or re.search(given.case, workload(dtype, **sizes).case + " ")
    ]
    run = Run(given.peers, given.before, given.threads, given.rounds, given.seconds, given.pause)
    results, low = {}, []
    for name in (BEFORE, OURS) if given.before else ():
        if missing := run.info["peers"][name].get("missing"):
            raise SystemExit(f"--before: {name}: {missing}")
    try:
        for workload, dtype, sizes in _progress(rows):
            result = results.setdefault(
                (workload.name, dtype),
                {"workload": workload.name, "what": workload.__doc__, "dtype": dtype, "machine": run.info, "rows": []},
            )
            row = run.case(workload, dtype, sizes)
            result["rows"].append(row)
            if report.is_low(row.get(BEFORE)):
                low.append((workload, dtype, sizes, row))
        run.close()  # the processes of the second run are new
        for workload, dtype, sizes, row in _progress(low):
            row["again"] = run.case(workload, dtype, sizes, only=(BEFORE, OURS)).get(BEFORE)
    finally:
        run.close()
        run.info["load_after"] = os.getloadavg()[0]
        results = list(results.values())
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            for result in results:
                stem = given.out / f"{result['workload']}-{result['dtype']}-{given.threads}"
                stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                stem.with_suffix(".md").write_text(report.page([result]) + "\n", encoding="utf-8")
        print(json.dumps(results, indent=1) if given.json else report.page(results))
    sys.exit(1 if any(report.has_fallen(row) for result in results for row in result["rows"]) else 0)


if __name__ == "__main__":
    main()
