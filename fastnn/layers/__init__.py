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
from .branch import Add, Concatenate
from .conv import Convolution, ConvTranspose2d
from .dense import AddLayer, Affine, MatMul, MulLayer, Repeat, Sum
from .embedding import Embedding, EmbeddingDot, NegativeSamplingLoss, UnigramSampler
from .generative import BernoulliKL, GaussianKL, Reparameterize, VectorQuantizer
from .loss import MeanSquaredError, SigmoidWithLoss, Softmax, SoftmaxCrossEntropy, SoftmaxWithLoss
from .norm import BatchNorm2d, BatchNormalization, GroupNorm, LayerNorm
from .pool import AveragePooling, Flatten, GlobalAveragePooling, GlobalMaxPooling, Pooling
from .random import Dropout, Dropout2d
from .weighted import WeightedLoss

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "Add",
    "AddLayer",
    "Affine",
    "AveragePooling",
    "BatchNorm2d",
    "BatchNormalization",
    "BernoulliKL",
    "Concatenate",
    "ConvTranspose2d",
    "Convolution",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "EmbeddingDot",
    "Flatten",
    "GaussianKL",
    "GlobalAveragePooling",
    "GlobalMaxPooling",
    "GroupNorm",
    "HardSigmoid",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyRelu",
    "MatMul",
    "MeanSquaredError",
    "Mish",
    "MulLayer",
    "NegativeSamplingLoss",
    "Pooling",
    "Relu",
    "Reparameterize",
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
    "UnigramSampler",
    "VectorQuantizer",
    "WeightedLoss",
]
