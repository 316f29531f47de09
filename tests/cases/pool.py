"""Cases of the family pool."""

import numpy as np

from fastnn.backends import numpy_backend

from ._common import SIZES, normal, sprinkle

_PLAIN = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}


def _max_forward(rng, dtype, shape, kernel, stride, padding, ceil_mode=False, special=""):
    x = normal(rng, dtype, *shape)
    if special == "ties":
        x = np.asarray(rng.integers(-1, 2, shape), dtype)
    elif special == "nan":
        sprinkle(rng, x, np.array([np.nan, np.inf, -np.inf, -0.0] * (x.size // 12)))
    elif special == "-inf":
        x[:, 0] = -np.inf
    return {"x": x, "kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}


def _max_backward(rng, dtype, shape, kernel, stride, padding, ceil_mode=False, special=""):
    args = _max_forward(rng, dtype, shape, kernel, stride, padding, ceil_mode, special)
    _, arg = numpy_backend.max_pool2d_forward(**args)
    dout = normal(rng, dtype, *arg.shape)
    if special == "nan":
        sprinkle(rng, dout, np.array([np.nan, np.inf]))
    return {
        "dout": dout, "arg": arg, "input_shape": shape, "kernel": kernel, "stride": stride, "padding": padding,
    }  # fmt: skip


def _avg_forward(rng, dtype, shape, kernel, stride, padding, ceil_mode=False, count_include_pad=True, special=""):
    args = _max_forward(rng, dtype, shape, kernel, stride, padding, ceil_mode, special)
    return args | {"count_include_pad": count_include_pad}


def _avg_backward(rng, dtype, shape, kernel, stride, padding, ceil_mode=False, count_include_pad=True):
    args = _avg_forward(rng, dtype, shape, kernel, stride, padding, ceil_mode, count_include_pad)
    dout = normal(rng, dtype, *numpy_backend.avg_pool2d_forward(**args).shape)
    return {"dout": dout, "input_shape": shape} | {name: args[name] for name in args if name != "x"}


def _windows(shape, kernel, stride, padding=0, **options):
    """Arguments from numbers for both axes or pairs."""
    pairs = {
        name: value if isinstance(value, tuple) else (value, value)
        for name, value in (("kernel", kernel), ("stride", stride), ("padding", padding))
    }
    return {"shape": shape} | pairs | options


_ODD = {
    "odd edges": _windows((2, 3, 5, 7), 2, 2),
    "one element": _windows((1, 1, 1, 1), 1, 1),
    "2x2 of 33 columns": _windows((2, 1, 6, 33), 2, 2),
    "2x2 of 66 columns": _windows((1, 2, 4, 66), 2, 2),
    "2x2 of 24 columns": _windows((2, 3, 24, 24), 2, 2),
    "2x2 padded": _windows((2, 3, 5, 6), 2, 2, 1),
    "2x2 ceil": _windows((2, 3, 5, 7), 2, 2, ceil_mode=True),
    "overlapping": _windows((2, 3, 9, 23), 3, 2, 1),
    "overlapping, ceil": _windows((2, 3, 10, 8), 3, 2, 1, ceil_mode=True),
    "stride 1": _windows((1, 2, 9, 41), 3, 1, 1),
    "stride 1, 2x3": _windows((1, 2, 9, 19), (2, 3), 1, (1, 0)),
    "gaps": _windows((2, 2, 11, 29), 2, (3, 4)),
    "3x3 by 3": _windows((1, 3, 12, 51), 3, 3),
    "3x2 by 1x3": _windows((1, 2, 7, 10), (3, 2), (1, 3), (1, 1)),
    "last window in the padding": _windows((1, 2, 3, 3), 2, 3, 1, ceil_mode=True),
    "larger than the image, ceil": _windows((1, 2, 3, 4), (4, 5), (2, 3), ceil_mode=True),
    "global": _windows((3, 5, 6, 7), (6, 7), (6, 7)),
    "global, 17x17": _windows((2, 3, 17, 17), 17, 17),
    "global row": _windows((2, 3, 4, 40), (1, 40), 1),
    "full width": _windows((2, 2, 9, 12), (3, 12), (2, 1)),
    "column": _windows((2, 2, 9, 12), (9, 1), 1),
    "large": _windows((1, 2, 20, 37), (17, 16), (2, 1), (8, 8)),
}
_MAX = {
    "ties": _windows((2, 3, 8, 34), 2, 2, special="ties"),
    "ties overlapping": _windows((2, 3, 9, 23), 3, 2, 1, special="ties"),
    "ties global": _windows((2, 3, 9, 11), (9, 11), 1, special="ties"),
    "nan": _windows((2, 3, 8, 34), 2, 2, special="nan"),
    "nan overlapping": _windows((2, 3, 9, 23), 3, 2, 1, special="nan"),
    "nan global": _windows((2, 3, 9, 11), (9, 11), 1, special="nan"),
    "-inf": _windows((2, 3, 7, 23), 3, 2, 1, special="-inf"),
    "-inf, 2x2": _windows((2, 3, 8, 34), 2, 2, special="-inf"),
    "-inf, global": _windows((2, 3, 5, 5), 5, 5, special="-inf"),
}
_AVG = {
    name + ", image only": case | {"count_include_pad": False}
    for name, case in _ODD.items()
    if case["padding"] != (0, 0) or "ceil_mode" in case
}
_BENCH = {
    "100x30x24x24": _windows((100, 30, 24, 24), 2, 2),
    "3x3 by 2": _windows((10, 30, 56, 56), 3, 2, 1),
    "3x3 by 1": _windows((10, 30, 24, 24), 3, 1, 1),
    "global": _windows((100, 64, 7, 7), 7, 7),
}


def _cases(odd):
    return dict(zip(SIZES, ({"2x2": {"shape": (2, 3, 4, 6)} | _PLAIN}, odd, _BENCH), strict=True))


RETURNS = {
    "max_pool2d_forward": ("out", "arg"),
    "max_pool2d_backward": ("dx",),
    "avg_pool2d_backward": ("dx",),
}

BUILD = {
    "max_pool2d_forward": _max_forward,
    "max_pool2d_backward": _max_backward,
    "avg_pool2d_forward": _avg_forward,
    "avg_pool2d_backward": _avg_backward,
}

CASES = {
    "max_pool2d_forward": _cases(_ODD | _MAX),
    "max_pool2d_backward": _cases(_ODD | _MAX),
    "avg_pool2d_forward": _cases(_ODD | _AVG | {"nan": _MAX["nan overlapping"]}),
    "avg_pool2d_backward": _cases(_ODD | _AVG),
}

ULPS = {"max": 8, "avg": 32}
