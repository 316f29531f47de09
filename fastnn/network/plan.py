"""Running a program: as one native call, or operation by operation."""

import math
from typing import Any, NamedTuple

import numpy as np

from .. import backends, ops
from .program import ALIGNMENT, Buffer, Scalar

_LOSSES = {
    "softmax_cross_entropy_forward": True, "affine_softmax_cross_entropy": True, "sigmoid_cross_entropy_forward": True,
    "squared_error_forward": False,
}  # fmt: skip
_BOUND = 4  # batch sizes whose steps are kept


def make_plan(program):
    """An executor for a program: native where that knows all of it, else Python's."""
    program.place()
    plan = native_plan(program)
    return Plan(program) if plan is None else Native(program, plan)


def native_plan(program, frozen=False):
    """The native executor of a placed program; None under another backend, or where it does not know all of it.

    frozen: its arrays never change, so weights are packed once, and products with an input of one sample leave its
    zeros out where the weights are finite.
    """
    if backends.active_name != "native":
        return None
    from .._core import Plan as NativePlan

    if not all(type(op) is str and op in NativePlan.operations for op, _ in program.instructions):
        return None
    arguments = program.instructions, program.buffers(), program.arena_bytes, program.capacity
    return NativePlan(program.dtype.name, *arguments, frozen)


class Native:
    """A program as one native call, for batches of up to `program.capacity` samples; one thread at a time."""

    name = "native"

    def __init__(self, program, plan):
        self.program = program
        self.backend = "native"
        self._plan = plan
        self._scalars: tuple = ()
        self.view = plan.view

    def run(self, n, inputs, begin=0, end=None):
        """As `Plan.run`; the loss is None only where the program has none."""
        if begin == 0:
            self._scalars = tuple([function(n) for function in self.program.scalars])
        return self._plan.run(n, inputs, self._scalars, begin, end)


class _Step(NamedTuple):
    """One instruction for one batch size."""

    function: Any
    args: list  # what changes from run to run is filled in
    inputs: list  # (argument, number of the input, shape or None)
    scalars: list  # (argument, number of the scalar)
    loss: Any  # function of the result, where that is or contains the loss
    changes: bool  # parameters or statistics


class Plan:
    """A program operation by operation, for batches of up to `program.capacity` samples; one thread at a time."""

    name = "operations"

    def __init__(self, program):
        self.program = program
        self.backend = backends.active_name
        self._steps: dict = {}  # n -> steps
        self._scalars: list = []
        block = np.empty(program.arena_bytes + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        self._arena = block[start : start + program.arena_bytes]

    def view(self, buffer, n):
        """The array behind a buffer for a batch of n; what it holds is valid until the next run."""
        record, floats = self.program.records[buffer], self.program.dtype
        if record.kind == "array":
            return record.where.reshape(record.shape)
        begin = record.where.offset
        memory = self._arena[begin : begin + record.nbytes(n, floats)]
        return memory.view(record.numpy_dtype(floats)).reshape(record.shape_for(n))

    def run(self, n, inputs, begin=0, end=None):
        """Instructions begin ... end - 1 for n samples -> the loss, None if there is none among them.

        inputs: x, t (as the loss takes it) and the program's own. Scalars are read where begin is 0. Once a loss is not
        finite, instructions that change parameters or statistics are left out.
        """
        steps = self._steps.get(n)
        if steps is None:
            if len(self._steps) >= _BOUND:
                self._steps.clear()
            arrays: dict = {}  # one object a buffer: operations see by it what they do in place
            steps = self._steps[n] = [self._bind(i, n, arrays) for i in range(len(self.program.instructions))]
        if begin == 0:
            self._scalars = [function(n) for function in self.program.scalars]
        loss = None
        for function, args, given, numbers, loss_of, changes in steps[begin:end]:
            if changes and loss is not None and not math.isfinite(loss):
                continue
            for place, i, shape in given:
                args[place] = inputs[i] if shape is None else inputs[i].reshape(shape)
            for place, i in numbers:
                args[place] = self._scalars[i]
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
            return _Step(op, values, given, numbers, loss_of, hasattr(op, "changes"))
        loss_of = {True: _first, False: float, None: None}[_LOSSES.get(op)]
        changes = op.endswith("_update") or op == "moving_average"
        return _Step(getattr(ops, op), values, given, numbers, loss_of, changes)

    def _value(self, arg, n, arrays):
        if isinstance(arg, Buffer):
            if arg not in arrays:
                arrays[arg] = self.view(arg, n)
            return arrays[arg]
        if type(arg) is list:
            return [self._value(buffer, n, arrays) for buffer in arg]
        return tuple(n if size is None else size for size in arg) if type(arg) is tuple else arg


def _first(result):
    return result[0]
