"""Random calls of random operations: every backend and instruction set must say what the NumPy reference says.

    python tests/crosscheck.py --seconds 60          # prints the seed of each call that differs
    python tests/crosscheck.py --seed 123            # that call again

A call is an operation, one of its cases with other sizes (0 among them), a dtype and a kind of values:

- `plain`: numbers of the order of 1, against the reference in float64;
- `special`: some elements of the arrays are NaN, infinite, zero of either sign or denormal;
- `extreme`: some elements are the largest and smallest numbers of the dtype, or powers of ten in between.

For the last two the reference is the NumPy backend in the same dtype, since float64 has another range. Results are
compared where the reference is finite; NaN and infinity must be where it has them, except in `extreme`, where the order
of a sum decides whether it overflows. In gradients, whose terms may be infinite with either sign, one may stand for the
other. A call that the reference refuses must be refused everywhere.
"""

import argparse
import contextlib
import sys
import time
import traceback

import cases
import numpy as np

from fastnn import ops
from fastnn.backends import numpy_backend

SIZES = 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 130
MOST = 60_000  # elements of all arguments
REFUSED = ValueError, IndexError, TypeError, ZeroDivisionError


class Call:
    """The call of one seed. `args` is None where the sizes that were drawn make no sense."""

    def __init__(self, seed, only=None):
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.op = rng.choice([op for op in sorted(cases.OPS) if only is None or op.startswith(only)])
        self.dtype = cases.DTYPES[rng.integers(2)]
        self.kind = rng.choice(["plain", "plain", "special", "extreme"])
        of_size = cases.CASES[self.op][rng.choice(["tiny", "odd", "odd", "odd"])]
        self.what = dict(of_size[rng.choice(list(of_size))])
        for name, value in self.what.items():
            if isinstance(value, int) and len(name) == 1 and rng.random() < 0.5:
                self.what[name] = int(rng.choice(SIZES))
            elif name == "shape" and rng.random() < 0.5:
                self.what[name] = tuple(int(n) for n in rng.choice(SIZES, rng.integers(4)))
        if self.op.startswith("conv_transpose2d") and self.kind != "plain" and self.what.get("kernel") == (3, 3):
            self.what["stride"] = 1, 2  # or Winograd's algorithm may be taken: see _without_winograd
        try:
            with np.errstate(all="ignore"):
                self.args = cases.build(self.op, self.dtype, **self.what)
        except (*REFUSED, AssertionError):
            self.args = None
        if self.args is not None and sum(a.size for a in _arrays(self.args)) > MOST:
            self.args = None
        if self.args is not None and self.kind != "plain":
            self._overwrite(rng)
            with np.errstate(all="ignore"):
                self.args |= _saved(self.op, self.args)
        if self.args is not None and self.op.startswith("conv2d"):
            self._without_winograd()

    def _overwrite(self, rng):
        info = np.finfo(self.dtype)
        values = {
            "special": [np.nan, np.inf, -np.inf, 0.0, -0.0, info.smallest_subnormal, -info.smallest_normal / 4],
            "extreme": [
                info.max,
                -info.max,
                info.smallest_normal,
                info.smallest_subnormal,
                *(10.0 ** np.arange(-9, 10)),
            ],
        }[self.kind]
        for name, value in self.args.items():
            most = self._most(name)
            for a in _arrays({name: value}):
                if a.dtype.kind == "f" and a.size and a.flags.writeable and rng.random() < 0.5:
                    for _ in range(rng.integers(1, 4)):
                        drawn = np.clip(rng.choice(values), -most, most)
                        # A weight of NaN makes the mean NaN; a row of weight 0 is then left out or multiplied by it.
                        drawn = np.nan_to_num(drawn) if name == "weight" else drawn
                        a[tuple(int(rng.integers(n)) for n in a.shape)] = drawn

    def _most(self, name):
        """The largest number to overwrite elements of an argument with (NaN stays NaN)."""
        info = np.finfo(self.dtype)
        # Infinite weights and targets belong to no loss: q * (z - log(sum)) is infinite, the difference of q * z and
        # q * log(sum) is NaN. The largest numbers overflow in one order and not in the other.
        if "cross_entropy" in self.op and name in ("t", "weight"):
            return 1e9
        # Whether dout * gamma * (x - mean) * rstd overflows depends on the order, and so does the sum of the first
        # three where the variance is infinite and rstd 0.
        if "norm_backward" in self.op and self.kind == "extreme":
            return info.max**0.25
        return np.inf

    def _without_winograd(self):
        """Winograd's algorithm spreads a NaN or an infinity over a tile, as its documentation says, and errs by a part
        of the largest number of a tile: with such numbers it is the direct algorithm that is compared."""
        if self.kind != "plain" or not all(np.isfinite(a).all() for a in _floats(self.args)):
            self.args["algorithm"] = "direct"

    def __str__(self):
        return f"{self.op} {self.what} {np.dtype(self.dtype).name} {self.kind} (--seed {self.seed})"

    def on(self, target):
        """What the public function gives there: a dict of results, or the error that it raises."""
        with cases.target(target), np.errstate(all="ignore"):
            try:
                return cases.run(getattr(ops, self.op), self.op, self.args)
            except REFUSED as error:
                return error

    def differences(self, targets):
        """[(target, what is wrong)]."""
        with np.errstate(all="ignore"):
            expected = self.on("numpy")
            if self.kind == "plain" and not isinstance(expected, Exception):
                expected = cases.expected(self.op, self.args)
            found = []
            for target in targets:
                with contextlib.suppress(StopIteration):
                    got = self.on(target)
                    found.append((target, next(self._wrong(got, expected))))
        return found

    def _wrong(self, got, expected):
        if isinstance(expected, Exception) or isinstance(got, Exception):
            if isinstance(got, Exception) != isinstance(expected, Exception):
                yield f"{got!r:.200}, the reference {expected!r:.200}"
            return
        if self.kind == "extreme" and any(not np.isfinite(v).all() for v in expected.values()):
            return
        for name, value in expected.items():
            yield from self._differs(name, got.get(name), value)

    def _differs(self, name, got, value):
        x, y = np.asarray(value), np.asarray(got)
        if x.shape != y.shape:
            yield f"{name}: {y.shape}, the reference {x.shape}"
        elif x.dtype.kind in "iub":
            if not np.array_equal(x, y):
                yield f"{name}: other integers"
        else:
            x, y = x.astype(np.longdouble), y.astype(np.longdouble)
            finite = np.isfinite(x)
            same = np.array_equal(x[~finite], y[~finite], equal_nan=True) or "backward" in self.op
            if not same or not np.array_equal(finite, np.isfinite(y)):
                yield f"{name}: NaN or infinity elsewhere"
                return
            rtol, atol = (8 * t for t in cases.tolerance(self.op, self.dtype))
            scale = max([1.0, *(float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in _floats(self.args))])
            scale = max(scale, float(np.abs(x[finite]).max(initial=0)))
            if "norm_backward" in self.op and self.kind == "extreme":
                scale *= scale  # what is left of products of two arguments that cancel
            error = np.abs(x - y)[finite]
            limit = rtol * np.abs(x[finite]) + atol * scale
            if (error > limit).any():
                at = np.argmax(error - limit)
                yield f"{name}: {y[finite][at]:.9g}, the reference {x[finite][at]:.9g}"


def _saved(op, args):
    """What a backward operation takes from its forward one, made from the overwritten inputs.

    A random number among these would be a state that no forward operation leaves: a softmax of infinity, a variance of
    NaN of finite columns, a finite state after an infinite one with an open gate. Which terms of a gradient such a
    number reaches is then nobody's rule.
    """
    given = args.get

    def norm(*options):
        forward = getattr(numpy_backend, op.replace("backward", "forward"))
        names = [name for name in ("mean", "var", "rstd") if name in args]
        x, gamma = args["x"], args["gamma"]
        return dict(zip(names, forward(x, gamma, np.zeros_like(gamma), *options)[1:], strict=True))

    def recurrent(names, *state, **options):
        forward = getattr(numpy_backend, op.replace("backward", "forward"))
        options |= {name: args[name] for name in ("lengths", "reverse", "time_major")}
        results = forward(args["x"], args["Wx"], args["Wh"], None, args["h0"], *state, **options)
        return dict(zip(names, results if isinstance(results, tuple) else (results,), strict=True))

    def inputs_as(forward):  # y (a probability or its logarithm) as the input of the operation that makes it
        return {"y": forward(args["y"])}

    makers = {
        "rnn_backward": lambda: recurrent(["hs"], activation=given("activation")),
        "lstm_backward": lambda: recurrent(["hs", "cs", "gates"], given("c0"), peephole=given("peephole")),
        "gru_backward": lambda: recurrent(["hs", "gates"], linear_before_reset=given("linear_before_reset")),
        "batch_norm_backward": lambda: norm(given("epsilon")),
        "layer_norm_backward": norm,
        "group_norm_backward": lambda: norm(given("groups")),
        "softmax_backward": lambda: inputs_as(numpy_backend.softmax_forward),
        "log_softmax_backward": lambda: inputs_as(numpy_backend.log_softmax_forward),
        "softmax_cross_entropy_backward": lambda: inputs_as(numpy_backend.softmax_forward),
        "sigmoid_cross_entropy_backward": lambda: inputs_as(lambda y: numpy_backend.activation_forward(y, "sigmoid")),
    }
    return makers[op]() if op in makers else {}


def _arrays(args):
    for value in args.values():
        for a in value if isinstance(value, list | tuple) else [value]:
            if isinstance(a, np.ndarray):
                yield a


def _floats(args):
    return [a for a in _arrays(args) if a.dtype.kind == "f"]


def targets():
    return [name for name in cases.TARGETS if name != "numpy" and not cases.why_not(name)]


def check(seeds, seconds=np.inf, only=None, say=None):
    """([what differs], number of calls) for as many of the seeds as fit into the time."""
    end = time.monotonic() + seconds
    found, calls = [], 0
    for seed in seeds:
        if time.monotonic() > end:
            break
        call = Call(seed, only)
        if call.args is not None:
            calls += 1
            for target, why in call.differences(targets()):
                found.append(f"{target}: {call}\n    {why}")
                if say:
                    say(found[-1])
    return found, calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="only this call")
    parser.add_argument("--start", type=int, default=time.time_ns() // 1_000_000, help="the first seed")
    parser.add_argument("--only", help="operations whose name starts so")
    given = parser.parse_args()
    if given.seed is not None:
        call = Call(given.seed, given.only)
        print(call, *(call.differences(targets()) if call.args else ["makes no sense"]), sep="\n")
        return 0
    found, calls = check(
        range(given.start, sys.maxsize), given.seconds, given.only, lambda text: print(text, flush=True)
    )
    print(f"{calls} calls from seed {given.start} on, on {', '.join(targets())}: {len(found)} differ")
    return int(bool(found))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception:
        traceback.print_exc()
        sys.exit(2)
