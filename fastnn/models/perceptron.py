"""Logic gates as perceptrons: two inputs 0 or 1 -> 0 or 1. Book 1 ch. 2."""


def _fires(w1, w2, bias, x1, x2):
    """The perceptron: 1 where w1 * x1 + w2 * x2 + bias > 0, else 0."""
    return int(w1 * x1 + w2 * x2 + bias > 0)


def AND(x1, x2):
    """1 if both inputs are 1."""
    return _fires(0.5, 0.5, -0.7, x1, x2)


def NAND(x1, x2):
    """0 if both inputs are 1."""
    return _fires(-0.5, -0.5, 0.7, x1, x2)


def OR(x1, x2):
    """1 if an input is 1."""
    return _fires(0.5, 0.5, -0.2, x1, x2)


def XOR(x1, x2):
    """1 if the inputs differ: two layers of perceptrons, since one cannot."""
    return AND(NAND(x1, x2), OR(x1, x2))
