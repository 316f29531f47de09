"""Running a program: as one native call, in native parts around what is Python, or operation by operation."""

import bisect
import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import backends, ops
from .program import ALIGNMENT, Buffer, Scalar
from .saved import Saved, saved_before

_LOSSES = {
    "softmax_cross_entropy_forward": True, "affine_softmax_cross_entropy": True, "sigmoid_cross_entropy_forward": True,
    "squared_error_forward": False,
}  # fmt: skip
# Samples of a part of a batch, at least: a product of fewer rows may add up in another order than the whole batch.
FEWEST = 16
_BOUND = 4  # batch sizes whose steps are kept


def cut(n, most):
    """Where parts of n samples begin, and n: even ones of up to `most`, or 31; not fewer than FEWEST unless n is."""
    count = max(1, min(-(-n // most), n // FEWEST))
    return [-(-n * i // count) for i in range(count + 1)]


def make_plan(program):
    """An executor for a program: native where that knows all of it, in parts where it knows some, else Python's."""
    program.place()
    plan = native_plan(program)
    if plan is not None:
        return Native(program, plan)
    return Parts(program) if any(native_instructions(program)) else Plan(program)


def native_instructions(program):
    """For each instruction, whether a native plan knows it."""
    if backends.active_name != "native":
        return [False] * len(program.instructions)
    from .._core import Plan as NativePlan

    operations = NativePlan.operations
    return [type(op) is str and op in operations for op, _ in program.instructions]


def native_plan(program, frozen=-1, share=None):
    """The native executor of a placed program; None under another backend, or where it does not know all of it.

    frozen: the buffer of the result of a program whose arrays never change, so that weights are packed once, and
    products with an input of one sample leave its zeros out where the weights are finite. share: another such executor
    of the same arrays, whose packed weights are this one's too.
    """
    if backends.active_name != "native" or not all(native_instructions(program)):
        return None
    from .._core import Plan as NativePlan

    arguments = program.instructions, program.buffers(), program.arena_bytes, program.capacity
    return NativePlan(program.dtype.name, *arguments, frozen, share)


class Native:
    """A program as one native call, for batches of up to `program.capacity` samples; one thread at a time.

    Its updates come after everything that may fail.
    """

    name = "native"

    def __init__(self, program, plan):
        self.program = program
        self.backend = "native"
        self.saved: Any = None
        self._plan = plan
        self.began = False
        self._n = -1
        self.scalars: tuple = ()
        self.view = plan.view

    def run(self, n, inputs, begin=0, end=None, scalars=None):
        """As `Plan.run`; the loss is None only where the program has none."""
        given: Any = self.scalars if scalars is None else scalars
        if begin == 0 and scalars is None:
            self._n = n
            given = self._draw if self.program.scalars else ()
        elif begin == 0:
            self.scalars = scalars
        run = self._plan.run
        self.began = True  # between this and the call nothing can come
        return run(n, inputs, given, begin, end)

    def _draw(self, interruptible):
        if interruptible:
            self.saved = Saved()
            for layer in self.program.draws:
                self.saved.add_generator(layer.rng)
        self.scalars = self.program.draw(self._n)
        return self.scalars

    def has_ended(self):
        """Whether a run since `began` was False came to its end, whatever was raised after that."""
        return self.began and self._plan.ended


class _Step(NamedTuple):
    """One instruction for one batch size."""

    function: Any
    args: list  # what changes from run to run is filled in
    inputs: list  # (argument, number of the input, shape or None)
    scalars: list  # (argument, number of the scalar)
    loss: Any  # function of the result, where that is or contains the loss
    changes: bool  # parameters or statistics
    save: Any  # function that adds what an update writes to a Saved; None for anything else


class Plan:
    """A program operation by operation, for batches of up to `program.capacity` samples; one thread at a time."""

    name = "operations"

    def __init__(self, program):
        self.program = program
        self.backend = backends.active_name
        self._steps: dict = {}  # n -> steps
        self.saved: Any = None  # what the last run may have changed, as it was before
        self.began = False
        self.scalars: Any = []
        self._take_arena()

    def _take_arena(self):
        size = self.program.arena_bytes
        block = np.empty(size + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        self._arena = block[start : start + size]

    def view(self, buffer, n):
        """The array behind a buffer for a batch of n; what it holds is valid until the next run."""
        record, floats = self.program.records[buffer], self.program.dtype
        if record.kind == "array":
            return record.where.reshape(record.shape)
        begin = record.where.offset
        memory = self._arena[begin : begin + record.nbytes(n, floats)]
        return memory.view(record.numpy_dtype(floats)).reshape(record.shape_for(n))

    def run(self, n, inputs, begin=0, end=None, scalars=None):
        """Instructions begin ... end - 1 for n samples -> the loss, None if there is none among them.

        inputs: x, t (as the loss takes it) and the program's own. scalars: those of an earlier run; None: new
        ones where begin is 0. Once a loss is not finite, instructions that change parameters or statistics are left
        out. Where a run is cut short, `saved.restore()` puts back what it has changed, unless `has_ended()`.
        """
        steps = self._bound(n)
        self._ended = False
        self.began = True
        if begin == 0:
            self._draw(n, scalars)
        loss = self._run_steps(steps[begin:end], inputs, None)
        self._ended = True
        return loss

    def _draw(self, n, scalars):
        self.saved = saved_before(self.program)
        self.scalars = self.program.draw(n) if scalars is None else scalars

    def has_ended(self):
        """Whether a run since `began` was False came to its end, whatever was raised after that."""
        return self.began and self._ended

    def _bound(self, n):
        steps = self._steps.get(n)
        if steps is None:
            if len(self._steps) >= _BOUND:
                self._steps.clear()
            arrays: dict = {}  # one object a buffer: operations see by it what they do in place
            steps = self._steps[n] = [self._bind(i, n, arrays) for i in range(len(self.program.instructions))]
        return steps

    def _run_steps(self, steps, inputs, loss):
        for function, args, given, numbers, loss_of, changes, save in steps:
            if changes and loss is not None and not math.isfinite(loss):
                continue
            for place, i, shape in given:
                args[place] = inputs[i] if shape is None else inputs[i].reshape(shape)
            for place, i in numbers:
                args[place] = self.scalars[i]
            if save is not None:
                save(self.saved)
            result = function(*args)
            if loss_of is not None:
                loss = loss_of(result)
        return loss

    def _bind(self, i, n, arrays):
        op, args = self.program.instructions[i]
        values: list = []
        given, numbers = [], []
        for place, arg in enumerate(args):
            if isinstance(arg, Buffer) and self.program.records[arg].kind == "input":
                record = self.program.records[arg]
                given.append((place, record.where, None if record.dtype == "labels" else record.shape_for(n)))
                values.append(None)
            elif isinstance(arg, Scalar):
                numbers.append((place, int(arg)))
                values.append(None)
            else:
                values.append(self._value(arg, n, arrays))
        if callable(op):
            loss_of = float if i == self.program.loss_at else None
            save = getattr(op, "save", None)
            return _Step(op, values, given, numbers, loss_of, save is not None, save)
        loss_of = {True: _first, False: float, None: None}[_LOSSES.get(op)]
        save = partial(_save_lists, values) if op.endswith("_update") else None
        return _Step(getattr(ops, op), values, given, numbers, loss_of, _changes(op), save)

    def _value(self, arg, n, arrays):
        if isinstance(arg, Buffer):
            if arg not in arrays:
                arrays[arg] = self.view(arg, n)
            return arrays[arg]
        if type(arg) is list:
            return [self._value(buffer, n, arrays) for buffer in arg]
        return tuple(n if size is None else size for size in arg) if type(arg) is tuple else arg


class Parts(Plan):
    """A program in native calls with the Python between them; one thread at a time."""

    name = "parts"

    def __init__(self, program):
        self._known = native_instructions(program)
        super().__init__(program)
        count = len(program.instructions)
        cuts = [i for i in range(1, count) if self._known[i] != self._known[i - 1]]
        self._cuts = [0, *cuts, count]  # where native parts and Python take turns
        native = [i for i, known in enumerate(self._known) if known]
        self.native_calls = sum(self._known[i] for i in self._cuts[:-1])
        used = [int(s) for i in native for s in program.instructions[i][1] if isinstance(s, Scalar)]
        self._scalar_count = max(used, default=-1) + 1
        self._loss_in_python = program.loss_at >= 0 and not self._known[program.loss_at]

    def _take_arena(self):
        from .._core import Plan as NativePlan

        program = self.program
        listed = [op if known else None for op, known in zip(program.instructions, self._known, strict=True)]
        self._plan = NativePlan(program.dtype.name, listed, program.buffers(), program.arena_bytes, program.capacity)

    def view(self, buffer, n):
        record = self.program.records[buffer]
        return record.where.reshape(record.shape) if record.kind == "array" else self._plan.view(buffer, n)

    def run(self, n, inputs, begin=0, end=None, scalars=None):
        """As `Plan.run`."""
        steps = self._bound(n)
        end = len(steps) if end is None else end
        loss, self._ended = None, False
        if begin == 0:
            self._draw(n, scalars)
            if not self._known[0]:
                self._native(n, inputs, 0, 0)  # a new loss
        inside = self._cuts[bisect.bisect_right(self._cuts, begin) : bisect.bisect_left(self._cuts, end)]
        for first, last in itertools.pairwise([begin, *inside, end]):
            if first == last:
                continue
            if not self._known[first]:
                loss = self._run_steps(steps[first:last], inputs, loss)
            elif self._loss_in_python and loss is not None and not math.isfinite(loss):
                for i in range(first, last):  # the native plan does not know of this loss
                    if not _changes(self.program.instructions[i][0]):
                        self._native(n, inputs, i, i + 1)
            else:
                found = self._native(n, inputs, first, last)
                loss = loss if found is None else found
        self._ended = True
        return loss

    def has_ended(self):
        """As `Plan.has_ended`."""
        return self.began and (self._ended or self._plan.ended)

    def _native(self, n, inputs, begin, end):
        run, numbers = self._plan.run, tuple(self.scalars[: self._scalar_count])
        self.began = True  # between this and the call nothing can come
        return run(n, inputs, numbers, begin, end)

    def _bind(self, i, n, arrays):
        return None if self._known[i] else super()._bind(i, n, arrays)


def _save_lists(args, saved):
    """The arrays of an update, but for the gradients, which it only reads."""
    for i, arrays in enumerate(args):
        for a in arrays if type(arrays) is list and i != 1 else ():
            saved.add_array(a)


def _changes(op):
    return op.endswith("_update") or op == "moving_average"


def _first(result):
    return result[0]
