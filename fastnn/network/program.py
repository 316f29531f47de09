"""A program: the operations that a network's pass consists of, over buffers whose places in memory are planned.

An instruction is (operation, arguments): the name of an operation of `ops`, outputs last, or a Python function. An
argument is a constant, a `Buffer`, a `Scalar` (a number that is given at each run) or a list of buffers; in a tuple of
sizes None stands for N. A buffer that depends on the batch is (N * rows, *shape).
"""

import inspect
import math
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..ops._bounds import BOUNDS, bounded

ALIGNMENT = 64
ITEMSIZES = {"uint8": 1, "int32": 4, "int64": 8}


class Buffer(int):
    """Number of a buffer of a program."""


class Scalar(int):
    """Number of a value that is given at each run."""


_GIVEN_LATER = Buffer, Scalar


class Record(NamedTuple):
    """What a buffer is.

    kind: "input", "arena" or "array". dtype: "float" (the program's), "uint8", "int32", "int64", "labels" (an input as
    it is given) or "mask" (one bit an element, in whole 64-bit words of uint8). rows: rows a sample; 0: the shape does
    not depend on N. where: the input's number, the arena's `Storage` or (placed) byte offset, or the array.
    """

    kind: str
    dtype: str
    rows: int
    shape: tuple
    where: Any

    def shape_for(self, n):
        """The array's shape for a batch of n."""
        if self.dtype == "mask":
            return (mask_bytes(n * self.rows * math.prod(self.shape)),)
        return (n * self.rows, *self.shape) if self.rows else self.shape

    def numpy_dtype(self, floats):
        return floats if self.dtype == "float" else np.dtype("uint8" if self.dtype == "mask" else self.dtype)

    def nbytes(self, n, floats):
        itemsize = floats.itemsize if self.dtype == "float" else ITEMSIZES.get(self.dtype, 1)
        return math.prod(self.shape_for(n)) * itemsize


def mask_bytes(count):
    return 8 * -(-count // 64)


class Storage:
    """Memory of the arena that one buffer, and the views of it, use from instruction `begin` to instruction `end`."""

    def __init__(self):
        self.begin: Any = None
        self.end: Any = None
        self.nbytes = 0
        self.offset = 0

    def use(self, i):
        self.begin = i if self.begin is None else min(self.begin, i)
        self.end = i if self.end is None else max(self.end, i)


class Program:
    """Instructions and buffers under construction by `lowering`; `place` then gives the arena its offsets."""

    def __init__(self, dtype, capacity, train, backward=True):
        self.dtype = np.dtype(dtype)
        self.backward = backward  # whether gradients will be asked for
        self.capacity = capacity
        self.train = train
        self.keeps_masks = False  # whether dropout layers get the masks of a run
        self.instructions: list = []
        self.layer_of: list = []  # number of the layer that each instruction belongs to
        self.records: list = []
        self.scalars: list = []  # functions of n
        self.lead: Any = None  # () -> the first of these, an optimizer's, which have no functions
        self.later_scalars: list = []  # the others, once the program is placed
        self.draws: list = []  # layers whose generator some of these draw from
        self.inputs: list = []  # functions of x, for the inputs after x and t
        self.after: list = []  # functions (view, n) that take results out of the arena after a run
        self.pinned: list = []  # buffers that are read after a run
        self.held: dict = {list: [], dict: [], object: []}  # (owner, index or name, value) that the program relies on
        self.product: Any = None  # the product that was emitted last, for a loss that takes it over
        self.ready: Any = None  # function (layer) that is called when the gradients of a layer have been emitted
        self.statistics: list = []  # instructions that follow the loss
        self.in_python: list = []  # (number, layer) of those that run in Python, the loss included
        self.planned: list = []  # the other layers
        self.reasons: dict = {}  # number of a layer -> why it runs in Python
        self.shapes: dict = {}  # number of a layer -> what it gives for a sample
        self.layer = 0
        self.arena_bytes = 0
        self.loss_at = -1  # instruction of the loss
        self._arrays: dict = {}

    # ---- buffers ---------------------------------------------------------------------------------------------------

    def _add(self, *fields):
        self.records.append(Record(*fields))
        return Buffer(len(self.records) - 1)

    def arena(self, shape, rows=1, dtype="float"):
        """A new array (N * rows, *shape), or of that shape with rows=0, in the arena."""
        return self._add("arena", dtype, rows, tuple(shape), Storage())

    def input(self, i, shape, dtype="float", rows=1):
        """Input number i of a run: 0 is x, 1 is t."""
        return self._add("input", dtype, rows, tuple(shape), i)

    def state(self, function, shape, dtype="float"):
        """An input (N, *shape) that `function(x)` supplies at each run."""
        self.inputs.append(function)
        return self.input(1 + len(self.inputs), shape, dtype)

    def hold(self, owner, key):
        """`owner[key]` (of a list, or a dict that may lack it) or attribute `key`: `stale` tells whether it changed."""
        value = _value(owner, key)
        self.held[type(owner) if type(owner) in (list, dict) else object].append((owner, key, value))
        return value

    def array(self, owner, key, turn=False):
        """The array `owner[key]` or attribute `key` as a buffer; turn: as what it is a transposed view of."""
        array = self.hold(owner, key)
        known = id(array), turn
        if known not in self._arrays:
            array = array.T if turn else array
            self._arrays[known] = self._add("array", "float", 0, array.shape, array)
        return self._arrays[known]

    def view(self, buffer, rows, shape):
        """The same memory as (N * rows, *shape)."""
        record = self.records[buffer]
        if (rows, tuple(shape)) == (record.rows, record.shape):
            return buffer
        return self._add(record.kind, record.dtype, rows, tuple(shape), record.where)

    def scalar(self, function):
        """A number that is `function(n)` at each run."""
        self.scalars.append(function)
        return Scalar(len(self.scalars) - 1)

    def draw(self, n):
        """The numbers of a run. Random ones come last: what is wrong with the others is found before."""
        if self.lead is None:
            return tuple([function(n) for function in self.scalars])
        return self.lead() + tuple([function(n) for function in self.later_scalars])

    def key(self, layer, draw):
        """A number that is `draw(layer.rng)` at each run."""
        self.draws.append(layer)
        return self.scalar(lambda n: draw(layer.rng))

    def pin(self, buffer):
        """Keep what is in the buffer until after the run."""
        self.pinned.append(buffer)
        return buffer

    def fits(self, *arrays):
        """Whether operations can work on these arrays as they are."""
        return all(
            type(a) is np.ndarray and a.dtype == self.dtype and a.flags.carray and a.flags.writeable for a in arrays
        )

    # ---- instructions ----------------------------------------------------------------------------------------------

    def emit(self, op, *args):
        if op in BOUNDS:  # native plans do not look at numbers again
            for name, arg in zip(inspect.signature(getattr(ops, op)).parameters, args, strict=False):
                number = isinstance(arg, float | int | np.number) and not isinstance(arg, _GIVEN_LATER)
                if number and name in BOUNDS[op]:
                    bounded(op, name, arg)
        self.instructions.append((op, args))
        self.layer_of.append(self.layer)

    def later(self, op, *args):
        """An instruction for right after the loss: skipped, as the updates are, where that is not finite."""
        self.statistics.append((self.layer, op, args))

    def close_forward(self):
        """The loss has been emitted (or there is none): what waits for it follows."""
        last = self.layer
        for layer, op, args in self.statistics:
            self.layer = layer
            self.emit(op, *args)
        self.layer = last

    def place(self):
        """Offsets in the arena: buffers that are needed at the same time do not overlap. First fit, largest first."""
        self.later_scalars = [function for function in self.scalars if function is not None]
        for i, (_, args) in enumerate(self.instructions):
            for buffer in buffers_in(args):
                self._storage_of(buffer, lambda storage, i=i: storage.use(i))
        for buffer in self.pinned:
            self._storage_of(buffer, lambda storage: storage.use(len(self.instructions)))
        for record in self.records:
            if record.kind == "arena":
                record.where.nbytes = max(record.where.nbytes, record.nbytes(self.capacity, self.dtype))
        storages = {id(r.where): r.where for r in self.records if r.kind == "arena" and r.where.begin is not None}
        placed: list = []
        for storage in sorted(storages.values(), key=lambda s: -s.nbytes):
            size, offset = aligned(storage.nbytes), 0
            rivals = [s for s in placed if s.begin <= storage.end and storage.begin <= s.end]
            for other in sorted(rivals, key=lambda s: s.offset):
                if other.offset - offset >= size:
                    break
                offset = max(offset, other.offset + aligned(other.nbytes))
            storage.offset = offset
            placed.append(storage)
            self.arena_bytes = max(self.arena_bytes, offset + size)

    def _storage_of(self, buffer, act):
        record = self.records[buffer]
        if record.kind == "arena":
            act(record.where)

    def buffers(self):
        """The records as plain tuples with byte offsets, for an executor; what nothing uses is empty."""
        return [
            (r.kind, r.dtype, r.rows, r.shape, r.where)
            if r.kind != "arena"
            else (r.kind, r.dtype, 0, (0,), 0)
            if r.where.begin is None
            else (r.kind, r.dtype, r.rows, r.shape, r.where.offset)
            for r in self.records
        ]

    def stale(self):
        """Whether something that the program refers to has been replaced."""
        lists, dicts, objects = self.held.values()  # asked at each run: 1 us for 20 entries, generators take twice that
        return (
            any([owner[i] is not value for owner, i, value in lists])  # noqa: C419
            or any([owner.get(key) is not value for owner, key, value in dicts])  # noqa: C419
            or any([getattr(owner, name) is not value for owner, name, value in objects])  # noqa: C419
        )


def _value(owner, key):
    if type(owner) is list:
        return owner[key]
    return owner.get(key) if type(owner) is dict else getattr(owner, key)


def turned(a):
    """Whether this is the transposed view of a C-contiguous matrix."""
    return type(a) is np.ndarray and a.ndim == 2 and a.flags.fnc


def straight(a):
    """The matrix that this is the transposed view of; anything else as it is."""
    return a.T if turned(a) else a


def aligned(nbytes):
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT


def buffers_in(args):
    """The buffers among arguments, those in lists included."""
    for arg in args:
        if isinstance(arg, Buffer):
            yield arg
        elif type(arg) is list:
            yield from buffers_in(arg)
