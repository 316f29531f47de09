"""What a course's version of book 1's `common.functions` adds: derivatives, and the loss's old name.

They are neither the book's nor ours. Scripts of that course (the notes of its participants have them) import these
names from `common.functions`, and run where fastnn provides `common`.
"""

import numpy as np

from ..functions import sigmoid, sum_squared_error

__all__ = ["d_mean_squared_error", "d_relu", "d_sigmoid", "d_tanh", "mean_squared_error"]


def mean_squared_error(d, y):
    """Half the sum of (y - d)^2, d the target, y the output -> float: `sum_squared_error`'s name in book 1 until 2019.

    The course's is half the mean. The two agree for one output.
    """
    return sum_squared_error(np.asarray(y), np.asarray(d))


def d_mean_squared_error(d, y):
    """(y - d) / N in y's shape, d the target, y the output, N the length of d's first axis; y - d for numbers."""
    return (np.asarray(y) - d) / len(d) if np.ndim(d) else y - d


def d_sigmoid(x):
    """sigmoid(x) * (1 - sigmoid(x)), of the value before the sigmoid."""
    y = sigmoid(x)
    return y * (1.0 - y)


def d_relu(x):
    """1 where x > 0, else 0, of the value before the ReLU."""
    return np.where(np.asarray(x) > 0, 1, 0)


def d_tanh(x):
    """1 - tanh(x)^2, of the value before the tanh."""
    return 1.0 - np.tanh(x) ** 2
