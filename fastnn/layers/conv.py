"""Convolution of images (N, C, H, W), and its transpose."""

from typing import Any

import numpy as np

from .. import init as start
from .. import ops
from .base import Layer, grad, need_arrays, pair, param


class _Filters(Layer):
    """A layer of filters W and a bias b."""

    always_shown = "stride", "pad"
    W, b, dW, db = param(0), param(1), grad(0), grad(1)
    x: Any = None

    def __init__(self, W, b, channels, stride, pad, dilation, groups, input_gradient):
        if b is None:
            super().__init__(W)
        else:
            super().__init__(W, b if np.ndim(b) else np.full(channels, b, W.dtype))
        self.stride = stride
        self.pad = pad
        self.dilation = dilation
        self.groups = groups
        self.input_gradient = input_gradient

    @classmethod
    def _created(cls, inputs, outputs, FH, FW, transposed, init, bias, rng, dtype, options):
        """The layer for so many channels in and out, with weights and a bias of its own."""
        what = f"{cls.__name__}.create"
        given = {
            "C": inputs,
            "FN": outputs,
            "FH": FH,
            "FW": FH if FW is None else FW,
            "groups": options.get("groups", 1),
        }
        C, FN, FH, FW, groups = start.sizes(what, **given)
        if C % groups or FN % groups:
            raise ValueError(f"{what}: C is {C} and FN {FN} but groups is {groups}; it must divide both")
        first, second = (C, FN // groups) if transposed else (FN, C // groups)
        fans = C // groups * FH * FW, FN // groups * FH * FW
        b = start.bias(FN, bias, start.floating(dtype, what), what)
        return cls(start.weights((first, second, FH, FW), init, rng, dtype, fans, what), b, **options)

    def _sizes(self):
        first, second, FH, FW = self.params[0].shape
        names = ("C", "FN") if isinstance(self, ConvTranspose2d) else ("FN", "C")
        return {names[0]: first, names[1]: second * self.groups, "FH": FH, "FW": FW}

    def _gradients(self, operation, dout, *options):
        """dx of the operation; the others go into `grads`."""
        buffers = self._buffers(dout, self.x)
        outputs = None if self.input_gradient else False, *buffers
        dx, *grads = operation(dout, self.x, self.params[0], *options, *outputs)
        self._store(grads[: len(buffers)])
        return dx


class Convolution(_Filters):
    """Convolution (not flipped): x (N, C, H, W), W (FN, C / groups, FH, FW) -> (N, FN, OH, OW). Book 1 ch. 7.

    b is (FN,), a number for all filters, or None for no bias. stride, pad and dilation are numbers or pairs (vertical,
    horizontal); OH = (H + 2 * pad - dilation * (FH - 1) - 1) // stride + 1. groups: channels and filters in that many
    separate parts. input_gradient=False, for the first layer of a network: backward does not compute dx but returns
    None.
    """

    def __init__(self, W, b, stride=1, pad=0, dilation=1, groups=1, input_gradient=True):
        need_arrays(self, W=W)
        super().__init__(W, b, len(W), stride, pad, dilation, groups, input_gradient)

    @classmethod
    def create(cls, FN, C, FH, FW=None, *, init="he", bias=True, rng=None, dtype="float32", **options):
        """A layer that makes its own W (FN, C / groups, FH, FW) and b (FN,); FW None: square filters.

        options: stride, pad and the others of the constructor; bias=False: no b. The rest as for `Affine.create`.
        """
        return cls._created(C, FN, FH, FW, False, init, bias, rng, dtype, options)

    @property
    def col(self):
        """The books' patch matrix of the last input (N * OH * OW, C * FH * FW), computed when read."""
        if self.x is None:
            return None
        x, (FH, FW), (dh, dw) = np.asarray(self.x), self.params[0].shape[2:], pair(self.dilation)
        window = dh * (FH - 1) + 1, dw * (FW - 1) + 1
        col = ops.im2col(x, window, pair(self.stride), pair(self.pad))
        return col.reshape(-1, x.shape[1], *window)[:, :, ::dh, ::dw].reshape(len(col), -1)

    @property
    def col_W(self):
        """W as the books multiply by it: (C / groups * FH * FW, FN), a view."""
        W = self.params[0]
        return W.reshape(len(W), -1).T

    def forward(self, x):
        self.x = x
        stride, pad, dilation = pair(self.stride), pair(self.pad), pair(self.dilation)
        return ops.conv2d_forward(x, self.W, self.b, stride, pad, dilation, self.groups)

    def backward(self, dout):
        stride, pad, dilation = pair(self.stride), pair(self.pad), pair(self.dilation)
        return self._gradients(ops.conv2d_backward, dout, stride, pad, dilation, self.groups, "auto")


class ConvTranspose2d(_Filters):
    """Transposed convolution: x (N, C, H, W), W (C, FN / groups, FH, FW) -> (N, FN, OH, OW). As PyTorch's.

    It maps like the gradient of a Convolution, and so can enlarge: OH = (H - 1) * stride - 2 * pad +
    dilation * (FH - 1) + output_padding + 1. The other arguments are those of Convolution.
    """

    def __init__(self, W, b, stride=1, pad=0, output_padding=0, dilation=1, groups=1, input_gradient=True):
        need_arrays(self, W=W)
        super().__init__(W, b, W.shape[1] * groups, stride, pad, dilation, groups, input_gradient)
        self.output_padding = output_padding

    @classmethod
    def create(cls, C, FN, FH, FW=None, *, init="he", bias=True, rng=None, dtype="float32", **options):
        """A layer that makes its own W (C, FN / groups, FH, FW) and b (FN,), as `Convolution.create`."""
        return cls._created(C, FN, FH, FW, True, init, bias, rng, dtype, options)

    def _options(self):
        return pair(self.stride), pair(self.pad), pair(self.output_padding), pair(self.dilation), self.groups

    def forward(self, x):
        self.x = x
        return ops.conv_transpose2d_forward(x, self.W, self.b, *self._options())

    def backward(self, dout):
        return self._gradients(ops.conv_transpose2d_backward, dout, *self._options())
