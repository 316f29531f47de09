"""`--float32`: operations with their float64 arguments cast, so that networks in float64 compute in float32."""

import numpy as np

from fastnn import backends, ops

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_OPTIMIZERS = "grads", "arrays", "state"  # first or second arguments: parameters and random states keep their dtype
_RESULTS = {"affine_backward": ["dx", "dW", "db"]}  # where results come in another order than the output arguments


def install() -> dict:
    """Put the casting functions into `fastnn.ops` -> what was there."""
    before = {}
    for op, signature in backends.OPS.items():
        names = list(signature.parameters)
        if not set(_OPTIMIZERS) & set(names[:3]):
            before[op] = getattr(ops, op)
            setattr(ops, op, _cast(before[op], names, _RESULTS.get(op)))
    return before


def remove(before: dict) -> None:
    for op, function in before.items():
        setattr(ops, op, function)


def _cast(function, names, results):
    # Outputs are last; batch_norm_forward's mean and var are outputs too, never given in float64 by the layers.
    outputs = [name for name in names if name in _OUTPUTS]
    first = names.index(outputs[0]) if outputs else len(names)
    results = outputs if results is None else results

    def cast(*args):
        given = {}  # output arguments in float64: the results are copied into them
        cast_args = []
        for i, a in enumerate(args):
            if type(a) is np.ndarray and a.dtype is _FLOAT64 and a.ndim:
                if i >= first:
                    given[names[i]] = a
                    a = None
                else:
                    a = a.astype(_FLOAT32)
            cast_args.append(a)
        made = function(*cast_args)
        if not given:
            return made
        several = isinstance(made, tuple)
        filled = [
            _filled(given[name], value) if name in given else value
            for name, value in zip(results, made if several else (made,), strict=False)
        ]
        return tuple(filled) if several else filled[0]

    return cast


def _filled(array, value):
    array[...] = value
    return array


_OUTPUTS = {"out", "dx", "dW", "db", "dgamma", "dbeta", "dWx", "dWh", "dh0", "dc0", "dpeephole", "db_h"}
