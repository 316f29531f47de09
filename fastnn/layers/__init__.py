"""The books' layers: parameters, gradients and what backward needs. The arithmetic is in `ops`.

Every layer has the lists `params` and `grads`, position by position; backward writes into the arrays of `grads`, which
stay the same objects for life. A layer refers to its parameters (changing them in place counts at the next call) and
to the input of its last forward, which the caller therefore leaves alone until backward. What a layer returns is a new
array that it does not need any more; what it is given is never changed. Shapes and dtypes are checked by `fastnn.ops`:
ValueError, TypeError or IndexError with the operation's name. Results have NumPy's promoted dtype.
"""

from .activation import (
    ELU,
    GELU,
    SELU,
    Activation,
    HardSigmoid,
    Identity,
    LeakyRelu,
    Mish,
    Relu,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Step,
    Swish,
    Tanh,
)
from .base import Layer
from .dense import AddLayer, Affine, MatMul, MulLayer, Repeat, Sum
from .loss import MeanSquaredError, SigmoidWithLoss, Softmax, SoftmaxCrossEntropy, SoftmaxWithLoss
from .norm import BatchNormalization
from .random import Dropout

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "AddLayer",
    "Affine",
    "BatchNormalization",
    "Dropout",
    "HardSigmoid",
    "Identity",
    "Layer",
    "LeakyRelu",
    "MatMul",
    "MeanSquaredError",
    "Mish",
    "MulLayer",
    "Relu",
    "Repeat",
    "SiLU",
    "Sigmoid",
    "SigmoidWithLoss",
    "Softmax",
    "SoftmaxCrossEntropy",
    "SoftmaxWithLoss",
    "Softplus",
    "Softsign",
    "Step",
    "Sum",
    "Swish",
    "Tanh",
]
