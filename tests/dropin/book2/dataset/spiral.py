"""Three arms of points."""

import numpy as np


def load_data(seed=1984):
    np.random.seed(seed)
    x, t = np.zeros((300, 2)), np.zeros((300, 3), dtype=int)
    for i in range(300):
        arm, rate = divmod(i, 100)
        angle = arm * 4.0 + 4.0 * rate / 100 + np.random.randn() * 0.2
        x[i] = rate / 100 * np.sin(angle), rate / 100 * np.cos(angle)
        t[i, arm] = 1
    return x, t
