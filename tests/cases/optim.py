"""Cases of the family optim."""

import numpy as np

from fastnn.backends import OPS

from ._common import normal


def _arrays(rng, dtype, shapes, scale=1.0):
    return [normal(rng, dtype, *shape, scale=scale) for shape in shapes]


def _optimizer(**own):
    """Builder of one update rule's arguments: its state lists, then the numbers of `own`, then the common tail."""

    def build(rng, dtype, shapes, weight_decay=0.0, clip_norm=0.0, clip_value=0.0, **changed):
        args = {"params": _arrays(rng, dtype, shapes), "grads": _arrays(rng, dtype, shapes)}
        for name, value in (own | changed).items():
            args[name] = value
            if value == "signed":
                args[name] = _arrays(rng, dtype, shapes, scale=0.1)
            elif value == "positive":
                args[name] = [np.asarray(np.square(a)) for a in _arrays(rng, dtype, shapes)]
        return args | {"weight_decay": weight_decay, "clip_norm": clip_norm, "clip_value": clip_value}

    return build


def _grad_norm(rng, dtype, shapes):
    return {"grads": _arrays(rng, dtype, shapes)}


def _scale_arrays(rng, dtype, shapes, scale=0.3):
    return {"arrays": _arrays(rng, dtype, shapes), "scale": scale}


def _moving_average(rng, dtype, shapes, momentum=0.9, factor=1.0):
    arrays, values = _arrays(rng, dtype, shapes), _arrays(rng, dtype, shapes)
    return {"arrays": arrays, "values": values, "momentum": momentum, "factor": factor}


_NETWORK = (784, 50), (50,), (50, 10), (10,)  # TwoLayerNet


_MIXED = (1,), (), (0,), (67, 3), (64,), (3, 5, 7), (1025,)


def _optimizer_cases(*options):
    tails = [
        {"weight_decay": 0.1}, {"clip_norm": 0.5}, {"clip_norm": 1e6}, {"clip_value": 0.3},
        {"weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.01},
    ]  # fmt: skip
    odd = {"no arrays": {"shapes": ()}, "mixed": {"shapes": _MIXED}}
    odd |= {",".join(f"{k}={v}" for k, v in o.items()): {"shapes": _MIXED} | o for o in [*tails, *options]}
    bench = {"TwoLayerNet": {"shapes": _NETWORK}, "50x10000": {"shapes": ((10000,),) * 50}}
    return {"tiny": {"one": {"shapes": ((2, 3),)}}, "odd": odd, "bench": bench}


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "grad_norm": ("norm",),
    "scale_arrays": ("arrays",),
    "moving_average": ("arrays",),
} | {op: ("params",) for op in OPS if op.endswith("_update")}

BUILD = {
    "grad_norm": _grad_norm,
    "scale_arrays": _scale_arrays,
    "moving_average": _moving_average,
    "sgd_update": _optimizer(lr=0.1),
    "momentum_update": _optimizer(v="signed", lr=0.1, momentum=0.9),
    "nesterov_update": _optimizer(v="signed", lr=0.1, momentum=0.9, lookahead=False),
    "adagrad_update": _optimizer(h="positive", lr=0.1, epsilon=1e-7),
    "rmsprop_update": _optimizer(h="positive", lr=0.1, decay_rate=0.99, epsilon=1e-7),
    "adam_update": _optimizer(
        m="signed", v="positive", lr=0.1, beta1=0.9, beta2=0.999, epsilon=1e-7, step=3, decoupled=False
    ),
}

CASES = {
    "grad_norm": _optimizer_cases(),
    "scale_arrays": _optimizer_cases(),
    "moving_average": _optimizer_cases({"factor": 1.01}, {"momentum": 0.0}, {"momentum": 1.0}),
    "sgd_update": _optimizer_cases(),
    "momentum_update": _optimizer_cases(),
    "nesterov_update": _optimizer_cases({"lookahead": True}, {"lookahead": True, "weight_decay": 0.1}),
    "adagrad_update": _optimizer_cases(),
    "rmsprop_update": _optimizer_cases(),
    "adam_update": _optimizer_cases({"step": 1}, {"step": 100000}, {"decoupled": True, "weight_decay": 0.1}),
}  # fmt: skip
for _op in ("grad_norm", "scale_arrays"):
    CASES[_op]["odd"] = {name: CASES[_op]["odd"][name] for name in ("no arrays", "mixed")}
for _name in [name for name in CASES["moving_average"]["odd"] if "clip" in name or "decay" in name]:
    del CASES["moving_average"]["odd"][_name]
