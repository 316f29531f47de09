"""Activations: element-wise functions of arrays of any shape."""

from typing import Any

from .. import ops
from .base import Layer, private_copy, unpack_mask


class Activation(Layer):
    """An element-wise function, any shape: `kind` and its number `alpha` are those of `ops.activation_forward`."""

    kind = "identity"
    alpha = 0.0
    x: Any = None

    def forward(self, x):
        self.x = x
        return ops.activation_forward(x, self.kind, self.alpha)

    def backward(self, dout):
        return ops.activation_backward(dout, self.x, self.kind, self.alpha)


class OutputActivation(Activation):
    """An activation whose derivative is computed from its output, kept as `out`."""

    out: Any = None

    def forward(self, x):
        out = ops.activation_forward(x, self.kind)
        self.out = private_copy(out, self.out)
        return out

    def backward(self, dout):
        return ops.activation_backward(dout, self.out, self.kind)


class Identity(Activation):
    """out = x (a copy)."""


class Step(Activation):
    """1 where x > 0, else 0, in x's dtype; the gradient is 0. Book 1 ch. 3."""

    kind = "step"


class Sigmoid(OutputActivation):
    """1 / (1 + exp(-x)). Book 1 ch. 5."""

    kind = "sigmoid"


class Tanh(OutputActivation):
    """tanh(x)."""

    kind = "tanh"


class Relu(Layer):
    """max(x, 0); NaN stays. The derivative at 0 is 0. Book 1 ch. 5; unlike there, backward does not change dout."""

    _mask: Any = None
    _shape: Any = None

    @property
    def mask(self):
        """True where the last x was <= 0 (bool, x's shape), None before the first forward."""
        keep = unpack_mask(self._mask, self._shape)
        return None if keep is None else ~keep

    def forward(self, x):
        out, self._mask = ops.relu_forward(x)
        self._shape = out.shape
        return out

    def backward(self, dout):
        return ops.relu_backward(dout, self._mask)


class LeakyRelu(Activation):
    """x where x > 0, else alpha * x."""

    always_shown = ("alpha",)
    kind = "leaky_relu"

    def __init__(self, alpha=0.01):
        super().__init__()
        self.alpha = alpha


class ELU(Activation):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    always_shown = ("alpha",)
    kind = "elu"

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = alpha


class SELU(Activation):
    """Self-normalising ELU (Klambauer et al. 2017)."""

    kind = "selu"


class Softplus(Activation):
    """log(1 + exp(x))."""

    kind = "softplus"


class Softsign(Activation):
    """x / (1 + |x|)."""

    kind = "softsign"


class HardSigmoid(Activation):
    """clip(x / 6 + 1 / 2, 0, 1), as PyTorch."""

    kind = "hard_sigmoid"


class Swish(Activation):
    """x * sigmoid(x), also called SiLU."""

    kind = "swish"


SiLU = Swish


class GELU(Activation):
    """x * Phi(x), Phi the normal distribution function; `approximate`: its tanh form (Hendrycks and Gimpel 2016)."""

    def __init__(self, approximate=False):
        super().__init__()
        self.kind = "gelu_tanh" if approximate else "gelu"

    @property
    def approximate(self):
        return self.kind == "gelu_tanh"


class Mish(Activation):
    """x * tanh(softplus(x)) (Misra 2019)."""

    kind = "mish"
