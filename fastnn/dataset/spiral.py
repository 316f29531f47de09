"""The spiral of book 2 ch. 1: arms of points around the origin, not separable by straight lines."""

import numpy as np


def load_data(seed=1984, classes=3, points=100):
    """Points x (classes * points, 2) float64 and one-hot classes t (classes * points, classes) int32.

    classes: arms. points: of each arm. Three arms of 100 points are the book's numbers for the same seed. Each arm starts
    4 radians after the one before, so that of five arms two pairs lie only 0.57 radians apart.

    Raises ValueError if classes or points is not positive.

    Notes
    -----
    Seeds NumPy's global generator, as the book's does: what a script draws afterwards is then the same, too.
    """
    if classes < 1 or points < 1:
        raise ValueError(f"spiral.load_data: classes is {classes}, points {points}; both must be at least 1")
    np.random.seed(seed)
    radius = np.tile(np.arange(points) / points, classes)
    arm = np.repeat(np.arange(classes), points)
    angle = arm * 4.0 + 4.0 * radius + np.random.randn(classes * points) * 0.2
    x = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    t = np.zeros((classes * points, classes), dtype=np.int32)
    t[np.arange(len(t)), arm] = 1
    return x, t
