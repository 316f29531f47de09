"""The spiral of book 2 ch. 1: three arms of 100 points, not separable by straight lines."""

import numpy as np

_CLASSES, _POINTS = 3, 100


def load_data(seed=1984):
    """Points x (300, 2) float64 and one-hot classes t (300, 3) int32: the book's numbers for the same seed.

    Notes
    -----
    Seeds NumPy's global generator, as the book's does: what a script draws afterwards is then the same, too.
    """
    np.random.seed(seed)
    radius = np.tile(np.arange(_POINTS) / _POINTS, _CLASSES)
    arm = np.repeat(np.arange(_CLASSES), _POINTS)
    angle = arm * 4.0 + 4.0 * radius + np.random.randn(_CLASSES * _POINTS) * 0.2
    x = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    t = np.zeros((_CLASSES * _POINTS, _CLASSES), dtype=np.int32)
    t[np.arange(len(t)), arm] = 1
    return x, t
