"""Native plans: the bits of the operations one by one; wrong programs are refused when they are made."""

import itertools

import cases
import numpy as np
import pytest

import fastnn
from fastnn import ops

if "native" not in fastnn.backends.available():
    pytest.skip("the native backend is not installed", allow_module_level=True)
from fastnn import _core

DTYPES = [np.float32, np.float64]


class Buffer(int):
    pass


class Scalar(int):
    pass


class Program:
    """A program under construction; every arena buffer has a place of its own."""

    def __init__(self, dtype, capacity):
        self.dtype, self.capacity = np.dtype(dtype), capacity
        self.instructions, self.buffers, self.arena_bytes = [], [], 0

    def _add(self, *record):
        self.buffers.append(record)
        return Buffer(len(self.buffers) - 1)

    def array(self, a):
        return self._add("array", "float", 0, a.shape, a)

    def input(self, i, shape=(), dtype="float", rows=1):
        return self._add("input", dtype, rows, shape, i)

    def arena(self, shape, rows=1, dtype="float"):
        offset = self.arena_bytes
        self.arena_bytes += -(-int(np.prod(shape)) * max(rows, 1) * self.capacity * 8 // 64) * 64 + 64
        return self._add("arena", dtype, rows, shape, offset)

    def emit(self, op, *args):
        self.instructions.append((op, args))

    def plan(self, frozen=-1):
        program = self.instructions, self.buffers, self.arena_bytes, self.capacity
        return _core.Plan(self.dtype.name, *program, frozen)


def make(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def two_layers(dtype, capacity, rng, sizes=(20, 13, 7)):
    """A training step of a small network, with what it works on."""
    p = Program(dtype, capacity)
    arrays = {}
    for i, (D, M) in enumerate(itertools.pairwise(sizes), 1):
        arrays |= {f"W{i}": make(rng, (D, M), dtype), f"b{i}": make(rng, M, dtype)}
        arrays |= {f"dW{i}": np.zeros((D, M), dtype), f"db{i}": np.zeros(M, dtype)}
    at = {name: p.array(a) for name, a in arrays.items()}
    x, t = p.input(0, sizes[:1]), p.input(1, dtype="labels")
    h, scores, y = p.arena(sizes[1:2]), p.arena(sizes[2:]), p.arena(sizes[2:])
    p.emit("affine_forward", x, at["W1"], at["b1"], "tanh", 0.0, h)
    p.emit("affine_forward", h, at["W2"], at["b2"], "identity", 0.0, scores)
    p.emit("softmax_cross_entropy_forward", scores, t, None, -1, 0.1, 0.0, y)
    p.emit("softmax_cross_entropy_backward", y, t, 1.0, None, -1, 0.1, y)
    dh = p.arena(sizes[1:2])
    p.program_buffers = {"h": h, "dh": dh}
    p.emit("affine_backward", y, h, at["W2"], at["dW2"], at["db2"], dh)
    p.emit("activation_backward", dh, h, "tanh", 0.0, dh)
    p.emit("affine_backward", dh, x, at["W1"], at["dW1"], at["db1"], None)
    params, grads = ([at[d + name] for name in ("W1", "b1", "W2", "b2")] for d in ("", "d"))
    p.emit("sgd_update", params, grads, Scalar(0), 0.01, 0.5, 0.0)
    return p, arrays


def two_layers_by_operations(a, x, t, lr):
    h = ops.affine_forward(x, a["W1"], a["b1"], "tanh")
    loss, y = ops.softmax_cross_entropy_forward(ops.affine_forward(h, a["W2"], a["b2"]), t, None, -1, 0.1)
    dy = ops.softmax_cross_entropy_backward(y, t, 1.0, None, -1, 0.1)
    dh, *_ = ops.affine_backward(dy, h, a["W2"], a["dW2"], a["db2"])
    dh = ops.activation_backward(dh, h, "tanh")
    ops.affine_backward(dh, x, a["W1"], a["dW1"], a["db1"])
    names = "W1", "b1", "W2", "b2"
    ops.sgd_update([a[n] for n in names], [a["d" + n] for n in names], lr, 0.01, 0.5)
    return loss


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_training_step_has_the_bits_of_its_operations(dtype):
    rng = np.random.default_rng(0)
    p, arrays = two_layers(dtype, 11, rng)
    plan, copies = p.plan(), {name: a.copy() for name, a in arrays.items()}
    with fastnn.use_backend("native"):
        for n in 11, 4, 1, 11:
            x, t = make(rng, (n, 20), dtype), rng.integers(-1, 7, n)
            t[0] = 3
            loss = plan.run(n, (x, t), (0.1,))
            assert loss == two_layers_by_operations(copies, x, t, 0.1)
            for name, a in arrays.items():
                assert a.tobytes() == copies[name].tobytes(), name


def test_a_plan_that_is_called_while_its_numbers_are_made():
    """The inner call would change the inputs of the outer one."""
    rng = np.random.default_rng(0)
    p, arrays = two_layers(np.float32, 5, rng)
    plan, before, x = p.plan(), arrays["W1"].copy(), make(rng, (5, 20), np.float32)

    def numbers(interruptible):
        with pytest.raises(RuntimeError, match="the plan is running"):
            plan.run(5, (np.zeros_like(x), np.zeros(5, int)), (0.1,))
        assert (arrays["W1"] == before).all()
        return (0.0,)

    assert plan.run(5, (x, np.arange(5)), numbers) == p.plan().run(5, (x, np.arange(5)), (0.0,))

    def fails(interruptible):
        raise KeyError

    with pytest.raises(KeyError):
        plan.run(5, (x, np.arange(5)), fails)
    plan.run(5, (x, np.arange(5)), (0.0,))


def test_nothing_is_updated_after_a_loss_that_is_not_finite():
    p, arrays = two_layers(np.float32, 5, np.random.default_rng(0))
    plan, before = p.plan(), arrays["W1"].copy()
    assert np.isnan(plan.run(5, (np.full((5, 20), np.nan, np.float32), np.zeros(5, int)), (0.1,)))
    assert (arrays["W1"] == before).all()


@pytest.mark.parametrize("change, error, words", [
    (lambda x, t: (3, (x, t), (0.1,)), ValueError, r"input 0 is \(5, 20\) but N is 3"),
    (lambda x, t: (6, (x, t), (0.1,)), ValueError, "n is 6; the plan is for 1 to 5"),
    (lambda x, t: (0, (x, t), (0.1,)), ValueError, "n is 0"),
    (lambda x, t: (5, (x,), (0.1,)), ValueError, "2 inputs are needed but 1"),
    (lambda x, t: (5, (x, t), ()), ValueError, "1 scalars are needed but 0"),
    (lambda x, t: (5, (x, t), ("fast",)), TypeError, "scalar 0 is 'fast'"),
    (lambda x, t: (5, (x.astype(float), t), (0.1,)), TypeError, "C-contiguous array of float32"),
    (lambda x, t: (5, (x.T.copy().T, t), (0.1,)), TypeError, "C-contiguous"),
    (lambda x, t: (5, (x, t + 7), (0.1,)), IndexError, r"integers in \[0, 7\)"),
    (lambda x, t: (5, (x, t[:4]), (0.1,)), ValueError, "5 rows"),
    (lambda x, t: (5, (x, np.zeros((5, 6))), (0.1,)), ValueError, r"targets \(5, 7\)"),
])  # fmt: skip
def test_wrong_inputs_are_refused(change, error, words):
    p, arrays = two_layers(np.float32, 5, np.random.default_rng(0))
    plan, before = p.plan(), {name: a.copy() for name, a in arrays.items()}
    with pytest.raises(error, match=words):
        plan.run(*change(np.zeros((5, 20), np.float32), np.zeros(5, int)))
    assert all((a == before[name]).all() for name, a in arrays.items())


def affine(p, *args):
    p.emit("affine_forward", *args)


@pytest.mark.parametrize("build, words", [
    (lambda p, x, W, y: affine(p, x, W, None, "tanh", 0.0, x), "out is written but its buffer must not be"),
    (lambda p, x, W, y: affine(p, x, x, None, "tanh", 0.0, y), r"W is \(N, 4\) but its axis 0 must be 4"),
    (lambda p, x, W, y: affine(p, x, W, y, "tanh", 0.0, y), "b is .*it must have 1 axes"),
    (lambda p, x, W, y: affine(p, x, W, None, "sin", 0.0, y), "activation is 'sin'"),
    (lambda p, x, W, y: affine(p, x, W, None, "tanh", "a", y), "alpha is 'a'"),
    (lambda p, x, W, y: affine(p, x, W, None, "tanh", 0.0), "argument out is missing"),
    (lambda p, x, W, y: affine(p, x, W, None, "tanh", 0.0, y, y), "takes 6 arguments but 7"),
    (lambda p, x, W, y: affine(p, x, W, None, "tanh", 0.0, None), "out is None"),
    (lambda p, x, W, y: affine(p, x, Buffer(9), None, "tanh", 0.0, y), "9 is not one of the 3 buffers"),
    (lambda p, x, W, y: affine(p, x, 1, None, "tanh", 0.0, y), "1 is not one of"),
    (lambda p, x, W, y: affine(p, x, W, None, "tanh", 0.0, p.arena((3,), 2)), r"out is \(2 N, 3\) but its axis 0"),
    (lambda p, x, W, y: affine(p, y, p.array(np.eye(3, dtype=np.float32)), None, "tanh", 0.0, y), "out shares memory"),
    (lambda p, x, W, y: p.emit("sgd_update", [W], [x], 0.1), "grads has .*cannot be updated"),
    (lambda p, x, W, y: p.emit("sgd_update", [W], [], 0.1), "grads does not match"),
    (lambda p, x, W, y: p.emit("relu_forward", x, p.arena((4,)), y), "mask is a buffer of float"),
    (lambda p, x, W, y: p._add("arena", "float", 1, (4,), p.arena_bytes), "does not fit into"),
    (lambda p, x, W, y: p._add("arena", "float", 1, (4,), 4), "multiple of 64"),
    (lambda p, x, W, y: p._add("arena", "float", 1 << 40, (1 << 40,), 0), "buffer 3 is"),
    (lambda p, x, W, y: p._add("arena", "float", -1, (4,), 0), "buffer 3 is"),
    (lambda p, x, W, y: p._add("array", "float", 0, (3, 5), np.zeros((3, 4), np.float32)), r"is \(3, 4\) but"),
    (lambda p, x, W, y: p._add("array", "float", 0, (3, 4), np.zeros((3, 4))), "C-contiguous one of float32"),
    (lambda p, x, W, y: p._add("array", "float", 0, (12,), np.zeros((4, 3), np.float32).T), "C-contiguous one"),
    (lambda p, x, W, y: p._add("array", "float", 0, (6, 2), np.zeros((4, 3), np.float32).T), "C-contiguous one"),
    (lambda p, x, W, y: p._add("array", "float", 0, (6, 3), np.zeros((4, 3), np.float32).T), "C-contiguous one"),
    (lambda p, x, W, y: p._add("array", "int32", 0, (4, 3), np.zeros((3, 4), np.int32).T), "C-contiguous one"),
    (lambda p, x, W, y: p._add("array", "mask", 0, (64, 8), np.zeros((8, 8), np.uint8).T), "C-contiguous one"),
    (lambda p, x, W, y: p._add("array", "float", 0, (4, 3), np.zeros((4, 6), np.float32)[:, ::2]), "C-contiguous one"),
    (lambda p, x, W, y: p._add("array", "float", 0, (4, 3), np.zeros((3, 8), np.float32).T[::2]), "C-contiguous one"),
    (lambda p, x, W, y: affine(p, p.array(np.zeros((4, 3), np.float32).T), W, None, "tanh", 0.0, y),
     "x is a buffer of transposed float"),
    (lambda p, x, W, y: p.emit("sgd_update", [p.array(np.zeros((4, 3), np.float32).T)], [W], 0.1), "cannot be updated"),
    (lambda p, x, W, y: p.emit("sgd_update", [W], [p.array(np.zeros((3, 4), np.float32).T)], 0.1), "cannot be updated"),
    (lambda p, x, W, y: p._add("elsewhere", "float", 0, (3, 4), 0), "buffer 3 is"),
])  # fmt: skip
def test_wrong_programs_are_refused(build, words):
    p = Program(np.float32, 5)
    x, W, y = p.input(0, (4,)), p.array(np.zeros((4, 3), np.float32)), p.arena((3,))
    build(p, x, W, y)
    with pytest.raises(ValueError, match=words):
        p.plan()


def test_unknown_operations():
    p = Program(np.float32, 5)
    x, y = p.input(0, (4,)), p.arena((4,))
    p.emit("fly", x)
    p.emit("activation_forward", x, "tanh", 0.0, y)
    p.emit(print, x)
    with pytest.raises(NotImplementedError, match="not operations of native plans: fly") as caught:
        p.plan()
    assert caught.value.args[1] == [0, 2]
    assert "fly" not in _core.Plan.operations and {"affine_forward", "adam_update"} <= _core.Plan.operations


def test_ranges_around_an_instruction_in_python():
    p, arrays = two_layers(np.float32, 5, np.random.default_rng(0))
    whole, copies = p.plan(), {name: a.copy() for name, a in arrays.items()}
    x, t = np.ones((5, 20), np.float32), np.arange(5)
    loss = whole.run(5, (x, t), (0.1,))
    after = {name: a.copy() for name, a in arrays.items()}
    for name, a in arrays.items():
        a[...] = copies[name]
    p.instructions[5] = None  # activation_backward
    plan = p.plan()
    plan.run(5, (x, t), (0.1,), 0, 5)
    dh, h = (plan.view(p.program_buffers[name], 5) for name in ("dh", "h"))
    ops.activation_backward(dh, h, "tanh", 0.0, dh)
    assert plan.run(5, (x, t), (0.1,), 6) == loss
    assert all(a.tobytes() == after[name].tobytes() for name, a in arrays.items())
    with pytest.raises(ValueError, match="instruction 5 is None"):
        plan.run(5, (x, t), (0.1,))
    with pytest.raises(ValueError, match=r"\[3, 99\) is not a range of the 8 instructions"):
        plan.run(5, (x, t), (0.1,), 3, 99)


def cases_of_plans():
    for op in sorted(_core.Plan.operations & set(cases.CASES)):
        for size in "tiny", "odd":
            for case in cases.CASES[op][size]:
                yield pytest.param(op, size, case, id=f"{op}-{size}-{case}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op, size, case", [*cases_of_plans()])
def test_every_operation_has_the_bits_of_its_own_call(op, size, case, dtype):
    args = cases.make(op, size, dtype, case)
    arrays = [a for v in args.values() for a in (v if isinstance(v, list) else [v]) if not np.isscalar(v)]
    if any(isinstance(a, np.ndarray) and (a.size == 0 or a.ndim == 0 or not a.flags.c_contiguous) for a in arrays):
        pytest.skip("plans have no empty or strided arrays")
    if args["a"].ndim > 2 if op == "matmul" else "attention" in op and (args["mask"] is not None or args["q"].ndim < 4):
        pytest.skip("plans have one product at a time, and attention with heads and without a mask")
    if args.get("lengths") is not None or args.get("time_major"):
        pytest.skip("plans have whole sequences, the batch first")
    with fastnn.use_backend("native"):
        expected = cases.run(getattr(ops, op), op, args)
    if any(isinstance(v, list) and not all(isinstance(a, np.ndarray) for a in v) for v in args.values()):
        pytest.skip("plans have no gradients by rows")

    p, inputs, args = Program(dtype, 1), [], cases.copied(args)

    def given(name, value):
        if isinstance(value, list):
            return [p.array(a) for a in value]
        if not isinstance(value, np.ndarray):
            return value
        if name in ("index", "t") and value.dtype.kind in "iu":
            inputs.append(value)
            return p.input(len(inputs) - 1, value.shape, "labels", 0)
        if name == "t" and "softmax" in op:
            inputs.append(value)
            return p.input(len(inputs) - 1, value.shape[:1], "labels", 0)
        if value.dtype == dtype:
            return p.array(value)
        if name == "mask":
            shape = next(iter(args.values())).shape
            return p._add("array", "mask", 0, shape[:2] if "2d" in op else shape, value)
        return p._add("array", value.dtype.name, 0, value.shape, value)

    arguments = [given(name, value) for name, value in args.items()]
    results = {}
    for name in cases.OUTPUTS[op]:
        results[name] = np.full_like(expected[name], 7) if name in expected else None
        arguments.append(given(name, results[name]))
    p.emit(op, *arguments)
    loss = p.plan().run(1, tuple(inputs))
    for name in cases.IN_PLACE[op]:
        results |= {f"{name}[{i}]": a for i, a in enumerate(args[name])}
    for name, value in expected.items():
        if isinstance(value, float):
            assert loss == value or loss != loss != value
        else:
            assert results[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B, M, K, N", [(4, 10, 29, 33), (40, 9, 10, 11), (3, 120, 110, 130), (1, 5, 6, 7)])
def test_products_of_pairs_have_the_bits_of_matmul(B, M, K, N, dtype):
    rng = np.random.default_rng(0)
    for ta, tb in itertools.product((False, True), repeat=2):
        a, b = make(rng, (B, K, M) if ta else (B, M, K), dtype), make(rng, (B, N, K) if tb else (B, K, N), dtype)
        p = Program(dtype, B)
        x, y, out = p.input(0, a.shape[1:]), p.input(1, b.shape[1:]), p.arena((M, N))
        p.emit("matmul_pairs", x, y, ta, tb, out)
        plan = p.plan()
        plan.run(B, (a, b))
        assert plan.view(out, B).tobytes() == ops.matmul_pairs(a, b, ta, tb).tobytes()
        p = Program(dtype, B)
        p.emit("matmul_pairs", p.input(0, (M, K)), p.input(1, (K + 1, N)), False, False, p.arena((M, N)))
        with pytest.raises(ValueError, match="the sizes of a, b and out do not agree"):
            p.plan()


@pytest.mark.parametrize("dtype", DTYPES)
def test_frozen_runs(dtype):
    rng = np.random.default_rng(0)
    p = Program(dtype, 6)
    W1, W2 = make(rng, (9, 5), dtype), make(rng, (5, 3), dtype)
    h, y = p.arena((5,)), p.arena((3,))
    p.emit("affine_forward", p.input(0, (9,)), p.array(W1), None, "relu", 0.0, h)
    p.emit("affine_forward", h, p.array(W2), None, "identity", 0.0, y)
    plan = p.plan(frozen=y)
    function = plan.function()
    for n in 6, 1, 4:
        x = make(rng, (n, 9), dtype)
        expected = ops.affine_forward(ops.affine_forward(x, W1, None, "relu"), W2, None)
        out = np.empty((n, 3), dtype)
        assert function(x, out) is out
        assert out.tobytes() == function(x).tobytes() == expected.tobytes()
    assert plan.run(6, (make(rng, (6, 9), dtype),)) is None
    view = plan.view(y, 6)
    del plan
    assert view.shape == (6, 3) and np.isfinite(view).all()


def misaligned(shape, dtype):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.zeros(size + 1, np.uint8)[1:].view(dtype).reshape(shape)


def read_only(a):
    a.flags.writeable = False
    return a


class Own(np.ndarray):
    pass


def test_frozen_runs_take_and_change_nothing_else():
    p = Program(np.float32, 4)
    y = p.arena((3,))
    p.emit("affine_forward", p.input(0, (3,)), p.array(np.eye(3, dtype=np.float32)), None, "identity", 0.0, y)
    function, classes = (p.plan(frozen=y).function(classes=c) for c in (False, True))
    memory = np.arange(24, dtype=np.float32)
    x, before = memory[6:12].reshape(2, 3), memory.copy()
    bad_x = [
        misaligned((2, 3), "f4"), np.zeros((2, 3)), np.zeros((2, 3), "i4"), np.zeros((2, 3), ">f4"), x.view(Own),
        np.asfortranarray(x), x[:, ::-1], x[0], x[None], x[:0], np.zeros((5, 3), "f4"), np.zeros((2, 4), "f4"),
        [[1, 2, 3]], None, 5,
    ]  # fmt: skip
    for wrong in bad_x:
        assert function(wrong) is None and classes(wrong) is None
    bad_out = [
        misaligned((2, 3), "f4"), np.zeros((2, 3)), np.zeros((2, 3), ">f4"), np.zeros((2, 3), "f4").view(Own),
        read_only(np.zeros((2, 3), "f4")), np.zeros((3, 2), "f4").T, np.zeros((2, 4), "f4"), np.zeros((3, 3), "f4"),
        np.zeros(6, "f4"), [[0, 0, 0]] * 2, 5,
        *[memory[i : i + 6].reshape(2, 3) for i in range(1, 12)],  # in x
    ]  # fmt: skip
    for wrong in bad_out:
        kept = np.array(wrong)
        assert function(x, wrong) is None and (np.array(wrong) == kept).all()
    for wrong in (
        misaligned(2, "i8"), np.zeros(2, "i4"), np.zeros(2, ">i8"), np.zeros((2, 1), int), np.zeros(3, int),
        read_only(np.zeros(2, int)), np.zeros(4, int)[::2], *[memory[i : i + 4].view(int) for i in (4, 6, 8, 10)],
    ):  # fmt: skip
        assert classes(x, wrong) is None
    np.testing.assert_array_equal(memory, before)
    for i in 0, 12:  # next to x
        assert function(x, memory[i : i + 6].reshape(2, 3)) is not None
    np.testing.assert_array_equal(memory.reshape(4, 6)[:3], before.reshape(4, 6)[[1, 1, 1]])
    np.testing.assert_array_equal(memory[18:], before[18:])


INDICES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", np.longlong, np.ulonglong]


@pytest.mark.parametrize("dtype", DTYPES)
def test_frozen_runs_of_indices(dtype):
    rng = np.random.default_rng(0)
    V, D, T = 11, 4, 3
    W, A = make(rng, (V, D), dtype), make(rng, (D, 5), dtype)
    p = Program(dtype, 6)
    h, y = p.arena((T, D)), p.arena((5,), T)
    rows = p._add("arena", "float", T, (D,), p.buffers[h][-1])
    p.emit("embedding_forward", p.array(W), p.input(0, (T,), "labels"), h)
    p.emit("affine_forward", rows, p.array(A), None, "identity", 0.0, y)
    result = p._add("arena", "float", 1, (T, 5), p.buffers[y][-1])
    plan = p.plan(frozen=result)
    function, classes = (plan.function(classes=c) for c in (False, True))
    index = rng.integers(0, V, (6, T))
    for kind in INDICES:
        for n in 6, 1, 4:
            x = index[:n].astype(kind)
            expected = ops.affine_forward(W[x].reshape(-1, D), A, None).reshape(n, T, 5)
            out, places = np.empty((n, T, 5), dtype), np.empty((n, T), int)
            assert function(x, out) is out and out.tobytes() == function(x).tobytes() == expected.tobytes()
            assert classes(x, places) is places
            np.testing.assert_array_equal(places, expected.argmax(-1))
    for outside in V, -1, -V, 2**62, -(2**62):
        x = index.copy()
        x[3, 1] = outside
        out = np.full((6, T, 5), 7, dtype)
        assert function(x, out) is None and classes(x) is None and (out == 7).all()
    x = index.astype("u8")
    x[5, 2] = 2**64 - 1
    assert function(x) is None
    for wrong in index[:, :2], index[0], index.astype(dtype), index > 3, index.astype(">i8"), index[::-1]:
        assert function(wrong) is None


def test_plans_that_are_not_frozen():
    p, _ = two_layers(np.float32, 5, np.random.default_rng(0))
    y = p.program_buffers["h"]
    assert p.plan().function() is None and p.plan(frozen=y).function() is None  # which changes arrays
    q = Program(np.float32, 4)
    x, y, other = q.input(0, (3,)), q.arena((3,)), q.arena((3,))
    q.emit("activation_forward", x, "identity", 0.0, y)
    assert q.plan(frozen=y).function() is not None
    for not_written in x, other, 99, q._add("arena", "float", 1, (2,), 0), q._add("arena", "float", 3, (), 0):
        assert q.plan(frozen=not_written).function() is None
    assert q.plan().function() is None
    q.instructions.append(None)
    assert q.plan(frozen=y).function() is None
    q = Program(np.float32, 4)  # two inputs
    y = q.arena((3,))
    q.emit("activation_backward", q.input(0, (3,)), q.input(1, (3,)), "tanh", 0.0, y)
    assert q.plan(frozen=y).function() is None
    q = Program(np.float32, 4)  # another number of indices than x has
    y = q.arena((3,), 2)
    q.emit("embedding_forward", q.array(np.eye(3, dtype="f4")), q.input(0, (), "labels"), y)
    assert q.plan(frozen=q._add("arena", "float", 1, (2, 3), 0)).function() is None


@pytest.fixture(params=_core.available_isas())
def isa(request):
    before = _core.isa()
    _core.use_isa(request.param)
    yield
    _core.use_isa(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("M", [1, 2, 8, 10, 16, 20, 48, 50, 68, 100, 128, 144, 200])
@pytest.mark.parametrize("D", [1, 3, 100, 784, 1601])
def test_packed_weights_and_skipped_zeros_change_no_bit(D, M, dtype, isa):
    rng = np.random.default_rng(D + M)
    W, b = make(rng, (D, M), dtype), make(rng, M, dtype)
    for special in (None, np.inf):
        if special:
            W[0, 0] = special
        p = Program(dtype, 600)
        y = p.arena((M,))
        p.emit("affine_forward", p.input(0, (D,)), p.array(W), p.array(b), "relu", 0.0, y)
        function = p.plan(frozen=y).function()
        for zeros in 0, 0.5, 0.8, 1:
            for n in (1, 2) if zeros else (1, 2, 7, 15, 16, 33, 100, 600):
                x = np.where(rng.random((n, D)) < zeros, 0, rng.standard_normal((n, D))).astype(dtype)
                x[0, D // 2] = -0.0 if zeros else np.nan
                assert function(x).tobytes() == ops.affine_forward(x, W, b, "relu").tobytes()


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
@pytest.mark.parametrize("C, F, size", [(8, 8, 5), (16, 33, 14), (40, 20, 9), (4, 8, 7)])
def test_transformed_filters_change_no_bit(C, F, size, algorithm, isa):
    rng = np.random.default_rng(C)
    W, b = make(rng, (F, C, 3, 3), np.float32), make(rng, F, np.float32)
    p = Program(np.float32, 9)
    y, pairs = p.arena((F, size, size)), ((1, 1), (1, 1), (1, 1))
    p.emit("conv2d_forward", p.input(0, (C, size, size)), p.array(W), p.array(b), *pairs, 1, "tanh", 0.0, algorithm, y)
    function = p.plan(frozen=y).function()
    for n in 1, 9:
        x = make(rng, (n, C, size, size), np.float32)
        expected = ops.conv2d_forward(x, W, b, *pairs, 1, "tanh", 0.0, algorithm)
        assert function(x).tobytes() == expected.tobytes()


CELLS = {"rnn": 1, "lstm": 4, "gru": 3, "gru_linear": 3}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D, H", [(5, 3), (40, 33), (1, 70), (100, 100)])  # folded into Wh, and not
@pytest.mark.parametrize("T", [1, 2, 5])
@pytest.mark.parametrize("cell", CELLS)
def test_packed_recurrent_weights_change_no_bit(cell, T, D, H, dtype, isa):
    rng = np.random.default_rng(D)
    op, G = f"{cell.removesuffix('_linear')}_forward", CELLS[cell]
    Wx, Wh, b = make(rng, (D, G * H), dtype), make(rng, (H, G * H), dtype), make(rng, G * H, dtype)
    options, saved = {
        "rnn": ((None, "tanh"), ()),
        "lstm": ((None, None, make(rng, 3 * H, dtype)), (1, 4)),
        "gru": ((None, False, None), (3,)),
        "gru_linear": ((None, True, make(rng, H, dtype)), (4,)),
    }[cell]
    options = Wx, Wh, b, *options, None, T == 5, False  # from the end
    p = Program(dtype, 33)
    hs = p.arena((T, H))
    given = [p.array(a) if isinstance(a, np.ndarray) else a for a in options]
    p.emit(op, p.input(0, (T, D)), *given, hs, *(p.arena((T, k * H)) for k in saved))
    function = p.plan(frozen=hs).function()
    for n in 1, 2, 7, 33:
        x = make(rng, (n, T, D), dtype)
        expected = getattr(ops, op)(x, *options)
        expected = expected[0] if isinstance(expected, tuple) else expected
        assert function(x).tobytes() == expected.tobytes(), n
    before = function(x := make(rng, (7, T, D), dtype))
    Wx[...] = Wh[...] = np.nan  # not looked at again
    assert T == 1 or (function(x) == before).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("V", [1, 2, 10, 64, 1000])
def test_largest_scores(V, dtype, isa):
    rng = np.random.default_rng(V)
    p = Program(dtype, 50)
    y = p.arena((V,))
    p.emit("activation_forward", p.input(0, (V,)), "identity", 0.0, y)
    function = p.plan(frozen=y).function(None, True)
    x = make(rng, (50, V), dtype)
    x[10:20] = rng.integers(-1, 1, (10, V))  # several of the same size
    x[20:30] = -np.inf
    x[30:40] *= np.where(rng.random((10, V)) < 0.01, np.inf, -0.0)
    x[np.arange(40, 50), rng.integers(0, V, 10)] = np.nan
    x[45:, V // 2] = np.nan
    x[5, -1] = np.inf
    np.testing.assert_array_equal(function(x), x.argmax(1))
    out = np.empty(3, np.int64)
    assert function(x[:3], out) is out and function(x[:3], out=out) is out
    np.testing.assert_array_equal(out, x[:3].argmax(1))


def test_function_leaves_the_rest_to_another():
    p = Program(np.float32, 4)
    y = p.arena((3,))
    p.emit("activation_forward", p.input(0, (3,)), "identity", 0.0, y)
    plan = p.plan(frozen=y)
    calls = []
    function = plan.function(lambda *args, **named: calls.append((args, named)))
    x, out = np.ones((2, 3), np.float32), np.empty((2, 3), np.float32)
    assert function(x, out) is out and function(x, out=out) is out and (out == 1).all() and not calls
    taken = [(), (5,), (x[:, :2],), (x.astype("f8"),), (np.ones((5, 3), "f4"),), (x[:0],), (x[::-1],), (x, out[:1])]
    for args in [*taken, (x, x), (x, out, 1)]:
        assert function(*args) is None
        assert all(a is b for a, b in zip(calls.pop()[0], args, strict=True))
    assert function(x=x) is None and calls.pop() == ((), {"x": x})
    assert function(x, o=1) is None and len(calls.pop()[1]) == 1
