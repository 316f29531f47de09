"""The spiral of book 2 ch. 1: arms of points that straight lines do not separate."""

import numpy as np


def load_data(seed=1984, arms=3, points=100):
    """x (arms * points, 2) float64 and one-hot classes t (arms * points, arms) int32.

    The numbers are those of the book's code for the same seed. Each arm starts 4 radians after the one before, so that
    of five arms two pairs lie only 0.57 radians apart. Raises ValueError for less than one arm or point.

    Notes
    -----
    Seeds NumPy's global generator, as the book's does: what a script draws afterwards is then the same, too.
    """
    if arms < 1 or points < 1:
        raise ValueError(f"spiral.load_data: arms is {arms} and points {points}; both must be at least 1")
    np.random.seed(seed)
    radius = np.tile(np.arange(points) / points, arms)
    arm = np.repeat(np.arange(arms), points)
    angle = arm * 4.0 + 4.0 * radius + np.random.randn(arms * points) * 0.2
    x = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    t = np.zeros((arms * points, arms), dtype=np.int32)
    t[np.arange(len(t)), arm] = 1
    return x, t
