"""
Compiled kernels of fastnn; see fastnn.ops for the documented functions.
"""

from __future__ import annotations
import typing

__all__: list[str] = [
    "Plan",
    "activation_backward",
    "activation_forward",
    "adagrad_update",
    "adam_update",
    "add_arrays",
    "affine_backward",
    "affine_forward",
    "affine_softmax_cross_entropy",
    "available_isas",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "col2im",
    "concatenate",
    "conv2d_backward",
    "conv2d_forward",
    "conv_transpose2d_backward",
    "conv_transpose2d_forward",
    "dropout2d_backward",
    "dropout2d_forward",
    "dropout_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_backward_rows",
    "embedding_forward",
    "grad_norm",
    "group_norm_backward",
    "group_norm_forward",
    "gru_backward",
    "gru_forward",
    "im2col",
    "isa",
    "layer_norm_backward",
    "layer_norm_forward",
    "legacy_dropout_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "lstm_backward",
    "lstm_forward",
    "matmul",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "max_threads",
    "momentum_update",
    "moving_average",
    "nesterov_update",
    "openmp",
    "operations",
    "pool_stats",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "rnn_backward",
    "rnn_forward",
    "scale_arrays",
    "scaled_dot_product_attention_backward",
    "scaled_dot_product_attention_forward",
    "set_pool_limit",
    "set_thread_limit",
    "sgd_update",
    "sigmoid_cross_entropy_backward",
    "sigmoid_cross_entropy_forward",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "split",
    "squared_error_backward",
    "squared_error_forward",
    "threads_after_wait",
    "trim",
    "use_isa",
]

class Plan:
    """
    A program that is run as one call; see fastnn.network.program.
    """

    operations: typing.ClassVar[frozenset]
    @staticmethod
    def function_later(otherwise: typing.Any, classes: bool = False) -> typing.Any: ...
    def __init__(
        self,
        dtype: str,
        program: list,
        buffers: list,
        arena_bytes: typing.SupportsInt | typing.SupportsIndex,
        capacity: typing.SupportsInt | typing.SupportsIndex,
        frozen: typing.SupportsInt | typing.SupportsIndex = -1,
        share: typing.Any = None,
    ) -> None: ...
    def function(self, otherwise: typing.Any = None, classes: bool = False) -> typing.Any: ...
    def run(
        self,
        n: typing.SupportsInt | typing.SupportsIndex,
        inputs: tuple,
        scalars: typing.Any = (),
        begin: typing.SupportsInt | typing.SupportsIndex = 0,
        end: typing.Any = None,
    ) -> typing.Any: ...
    def view(
        self, buffer: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex
    ) -> typing.Any: ...
    @property
    def ended(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...

def activation_backward(
    dout: typing.Any, saved: typing.Any, kind: typing.Any, alpha: typing.Any = 0.0, dx: typing.Any = None
) -> typing.Any: ...
def activation_forward(
    x: typing.Any, kind: typing.Any, alpha: typing.Any = 0.0, out: typing.Any = None
) -> typing.Any: ...
def adagrad_update(
    params: typing.Any,
    grads: typing.Any,
    h: typing.Any,
    lr: typing.Any,
    epsilon: typing.Any,
    weight_decay: typing.Any = 0.0,
    clip_norm: typing.Any = 0.0,
    clip_value: typing.Any = 0.0,
) -> typing.Any: ...
def adam_update(
    params: typing.Any,
    grads: typing.Any,
    m: typing.Any,
    v: typing.Any,
    lr: typing.Any,
    beta1: typing.Any,
    beta2: typing.Any,
    epsilon: typing.Any,
    step: typing.Any,
    decoupled: typing.Any = False,
    weight_decay: typing.Any = 0.0,
    clip_norm: typing.Any = 0.0,
    clip_value: typing.Any = 0.0,
) -> typing.Any: ...
def add_arrays(a: typing.Any, b: typing.Any, out: typing.Any = None) -> typing.Any: ...
def affine_backward(
    dout: typing.Any, x: typing.Any, W: typing.Any, dW: typing.Any = None, db: typing.Any = None, dx: typing.Any = None
) -> typing.Any: ...
def affine_forward(
    x: typing.Any,
    W: typing.Any,
    b: typing.Any,
    activation: typing.Any = "identity",
    alpha: typing.Any = 0.0,
    out: typing.Any = None,
) -> typing.Any: ...
def affine_softmax_cross_entropy(
    x: typing.Any,
    W: typing.Any,
    b: typing.Any,
    t: typing.Any,
    weight: typing.Any = None,
    ignore_index: typing.Any = None,
    label_smoothing: typing.Any = 0.0,
    epsilon: typing.Any = 0.0,
    gradient: typing.Any = True,
    dW: typing.Any = None,
    db: typing.Any = None,
    dx: typing.Any = None,
) -> typing.Any: ...
def available_isas() -> list:
    """
    Instruction sets that can be used here, best first.
    """

def avg_pool2d_backward(
    dout: typing.Any,
    input_shape: typing.Any,
    kernel: typing.Any,
    stride: typing.Any,
    padding: typing.Any,
    ceil_mode: typing.Any,
    count_include_pad: typing.Any,
    dx: typing.Any = None,
) -> typing.Any: ...
def avg_pool2d_forward(
    x: typing.Any,
    kernel: typing.Any,
    stride: typing.Any,
    padding: typing.Any,
    ceil_mode: typing.Any = False,
    count_include_pad: typing.Any = True,
    out: typing.Any = None,
) -> typing.Any: ...
def batch_norm_backward(
    dout: typing.Any,
    x: typing.Any,
    gamma: typing.Any,
    mean: typing.Any,
    var: typing.Any,
    epsilon: typing.Any = 1e-06,
    dx: typing.Any = None,
    dgamma: typing.Any = None,
    dbeta: typing.Any = None,
) -> typing.Any: ...
def batch_norm_forward(
    x: typing.Any,
    gamma: typing.Any,
    beta: typing.Any,
    epsilon: typing.Any = 1e-06,
    out: typing.Any = None,
    mean: typing.Any = None,
    var: typing.Any = None,
) -> typing.Any: ...
def batch_norm_inference(
    x: typing.Any,
    gamma: typing.Any,
    beta: typing.Any,
    mean: typing.Any,
    var: typing.Any,
    epsilon: typing.Any = 1e-06,
    out: typing.Any = None,
) -> typing.Any: ...
def col2im(
    col: typing.Any,
    input_shape: typing.Any,
    kernel: typing.Any,
    stride: typing.Any = (1, 1),
    padding: typing.Any = (0, 0),
    out: typing.Any = None,
) -> typing.Any: ...
def concatenate(a: typing.Any, b: typing.Any, out: typing.Any = None) -> typing.Any: ...
def conv2d_backward(
    dout: typing.Any,
    x: typing.Any,
    W: typing.Any,
    stride: typing.Any = (1, 1),
    padding: typing.Any = (0, 0),
    dilation: typing.Any = (1, 1),
    groups: typing.Any = 1,
    algorithm: typing.Any = "auto",
    dx: typing.Any = None,
    dW: typing.Any = None,
    db: typing.Any = None,
) -> typing.Any: ...
def conv2d_forward(
    x: typing.Any,
    W: typing.Any,
    b: typing.Any,
    stride: typing.Any = (1, 1),
    padding: typing.Any = (0, 0),
    dilation: typing.Any = (1, 1),
    groups: typing.Any = 1,
    activation: typing.Any = "identity",
    alpha: typing.Any = 0.0,
    algorithm: typing.Any = "auto",
    out: typing.Any = None,
) -> typing.Any: ...
def conv_transpose2d_backward(
    dout: typing.Any,
    x: typing.Any,
    W: typing.Any,
    stride: typing.Any = (1, 1),
    padding: typing.Any = (0, 0),
    output_padding: typing.Any = (0, 0),
    dilation: typing.Any = (1, 1),
    groups: typing.Any = 1,
    dx: typing.Any = None,
    dW: typing.Any = None,
    db: typing.Any = None,
) -> typing.Any: ...
def conv_transpose2d_forward(
    x: typing.Any,
    W: typing.Any,
    b: typing.Any,
    stride: typing.Any = (1, 1),
    padding: typing.Any = (0, 0),
    output_padding: typing.Any = (0, 0),
    dilation: typing.Any = (1, 1),
    groups: typing.Any = 1,
    out: typing.Any = None,
) -> typing.Any: ...
def dropout2d_backward(
    dout: typing.Any, mask: typing.Any, scale: typing.Any = 1.0, dx: typing.Any = None
) -> typing.Any: ...
def dropout2d_forward(
    x: typing.Any,
    ratio: typing.Any,
    key: typing.Any,
    scale: typing.Any = 1.0,
    out: typing.Any = None,
    mask: typing.Any = None,
) -> typing.Any: ...
def dropout_backward(
    dout: typing.Any, mask: typing.Any, scale: typing.Any = 1.0, dx: typing.Any = None
) -> typing.Any: ...
def dropout_forward(
    x: typing.Any,
    ratio: typing.Any,
    key: typing.Any,
    scale: typing.Any = 1.0,
    out: typing.Any = None,
    mask: typing.Any = None,
) -> typing.Any: ...
def embedding_backward(dout: typing.Any, index: typing.Any, V: typing.Any, dW: typing.Any = None) -> typing.Any: ...
def embedding_backward_rows(dout: typing.Any, index: typing.Any, V: typing.Any) -> typing.Any: ...
def embedding_forward(W: typing.Any, index: typing.Any, out: typing.Any = None) -> typing.Any: ...
def grad_norm(grads: typing.Any) -> typing.Any: ...
def group_norm_backward(
    dout: typing.Any,
    x: typing.Any,
    gamma: typing.Any,
    groups: typing.Any,
    mean: typing.Any,
    rstd: typing.Any,
    dx: typing.Any = None,
    dgamma: typing.Any = None,
    dbeta: typing.Any = None,
) -> typing.Any: ...
def group_norm_forward(
    x: typing.Any,
    gamma: typing.Any,
    beta: typing.Any,
    groups: typing.Any,
    epsilon: typing.Any = 1e-05,
    out: typing.Any = None,
    mean: typing.Any = None,
    rstd: typing.Any = None,
) -> typing.Any: ...
def gru_backward(
    dhs: typing.Any,
    x: typing.Any,
    Wx: typing.Any,
    Wh: typing.Any,
    h0: typing.Any,
    hs: typing.Any,
    gates: typing.Any,
    linear_before_reset: typing.Any = False,
    lengths: typing.Any = None,
    reverse: typing.Any = False,
    time_major: typing.Any = False,
    dx: typing.Any = None,
    dWx: typing.Any = None,
    dWh: typing.Any = None,
    db: typing.Any = None,
    dh0: typing.Any = None,
    db_h: typing.Any = None,
) -> typing.Any: ...
def gru_forward(
    x: typing.Any,
    Wx: typing.Any,
    Wh: typing.Any,
    b: typing.Any,
    h0: typing.Any,
    linear_before_reset: typing.Any = False,
    b_h: typing.Any = None,
    lengths: typing.Any = None,
    reverse: typing.Any = False,
    time_major: typing.Any = False,
    hs: typing.Any = None,
    gates: typing.Any = None,
) -> typing.Any: ...
def im2col(
    x: typing.Any, kernel: typing.Any, stride: typing.Any = (1, 1), padding: typing.Any = (0, 0), out: typing.Any = None
) -> typing.Any: ...
def isa() -> str:
    """
    The instruction set in use.
    """

def layer_norm_backward(
    dout: typing.Any,
    x: typing.Any,
    gamma: typing.Any,
    mean: typing.Any,
    rstd: typing.Any,
    dx: typing.Any = None,
    dgamma: typing.Any = None,
    dbeta: typing.Any = None,
) -> typing.Any: ...
def layer_norm_forward(
    x: typing.Any,
    gamma: typing.Any,
    beta: typing.Any,
    epsilon: typing.Any = 1e-05,
    out: typing.Any = None,
    mean: typing.Any = None,
    rstd: typing.Any = None,
) -> typing.Any: ...
def legacy_dropout_forward(
    x: typing.Any,
    ratio: typing.Any,
    state: typing.Any,
    scale: typing.Any = 1.0,
    out: typing.Any = None,
    mask: typing.Any = None,
    next_state: typing.Any = None,
) -> typing.Any: ...
def log_softmax_backward(dout: typing.Any, y: typing.Any, dx: typing.Any = None) -> typing.Any: ...
def log_softmax_forward(x: typing.Any, out: typing.Any = None) -> typing.Any: ...
def lstm_backward(
    dhs: typing.Any,
    dcT: typing.Any,
    x: typing.Any,
    Wx: typing.Any,
    Wh: typing.Any,
    h0: typing.Any,
    c0: typing.Any,
    hs: typing.Any,
    cs: typing.Any,
    gates: typing.Any,
    peephole: typing.Any = None,
    lengths: typing.Any = None,
    reverse: typing.Any = False,
    time_major: typing.Any = False,
    dx: typing.Any = None,
    dWx: typing.Any = None,
    dWh: typing.Any = None,
    db: typing.Any = None,
    dh0: typing.Any = None,
    dc0: typing.Any = None,
    dpeephole: typing.Any = None,
) -> typing.Any: ...
def lstm_forward(
    x: typing.Any,
    Wx: typing.Any,
    Wh: typing.Any,
    b: typing.Any,
    h0: typing.Any,
    c0: typing.Any,
    peephole: typing.Any = None,
    lengths: typing.Any = None,
    reverse: typing.Any = False,
    time_major: typing.Any = False,
    hs: typing.Any = None,
    cs: typing.Any = None,
    gates: typing.Any = None,
) -> typing.Any: ...
def matmul(a: typing.Any, b: typing.Any, out: typing.Any = None) -> typing.Any: ...
def max_pool2d_backward(
    dout: typing.Any,
    arg: typing.Any,
    input_shape: typing.Any,
    kernel: typing.Any,
    stride: typing.Any,
    padding: typing.Any,
    dx: typing.Any = None,
) -> typing.Any: ...
def max_pool2d_forward(
    x: typing.Any,
    kernel: typing.Any,
    stride: typing.Any,
    padding: typing.Any,
    ceil_mode: typing.Any = False,
    out: typing.Any = None,
    arg: typing.Any = None,
) -> typing.Any: ...
def max_threads() -> int:
    """
    Threads that a large call made now would use.
    """

def momentum_update(
    params: typing.Any,
    grads: typing.Any,
    v: typing.Any,
    lr: typing.Any,
    momentum: typing.Any,
    weight_decay: typing.Any = 0.0,
    clip_norm: typing.Any = 0.0,
    clip_value: typing.Any = 0.0,
) -> typing.Any: ...
def moving_average(
    arrays: typing.Any, values: typing.Any, momentum: typing.Any, factor: typing.Any = 1.0
) -> typing.Any: ...
def nesterov_update(
    params: typing.Any,
    grads: typing.Any,
    v: typing.Any,
    lr: typing.Any,
    momentum: typing.Any,
    lookahead: typing.Any,
    weight_decay: typing.Any = 0.0,
    clip_norm: typing.Any = 0.0,
    clip_value: typing.Any = 0.0,
) -> typing.Any: ...
def pool_stats() -> dict: ...
def relu_backward(dout: typing.Any, mask: typing.Any, dx: typing.Any = None) -> typing.Any: ...
def relu_forward(x: typing.Any, out: typing.Any = None, mask: typing.Any = None) -> typing.Any: ...
def rmsprop_update(
    params: typing.Any,
    grads: typing.Any,
    h: typing.Any,
    lr: typing.Any,
    decay_rate: typing.Any,
    epsilon: typing.Any,
    weight_decay: typing.Any = 0.0,
    clip_norm: typing.Any = 0.0,
    clip_value: typing.Any = 0.0,
) -> typing.Any: ...
def rnn_backward(
    dhs: typing.Any,
    x: typing.Any,
    Wx: typing.Any,
    Wh: typing.Any,
    h0: typing.Any,
    hs: typing.Any,
    activation: typing.Any = "tanh",
    lengths: typing.Any = None,
    reverse: typing.Any = False,
    time_major: typing.Any = False,
    dx: typing.Any = None,
    dWx: typing.Any = None,
    dWh: typing.Any = None,
    db: typing.Any = None,
    dh0: typing.Any = None,
) -> typing.Any: ...
def rnn_forward(
    x: typing.Any,
    Wx: typing.Any,
    Wh: typing.Any,
    b: typing.Any,
    h0: typing.Any,
    activation: typing.Any = "tanh",
    lengths: typing.Any = None,
    reverse: typing.Any = False,
    time_major: typing.Any = False,
    hs: typing.Any = None,
) -> typing.Any: ...
def scale_arrays(arrays: typing.Any, scale: typing.Any) -> typing.Any: ...
def scaled_dot_product_attention_backward(
    dout: typing.Any,
    q: typing.Any,
    k: typing.Any,
    v: typing.Any,
    mask: typing.Any = None,
    causal: typing.Any = False,
    offset: typing.Any = 0,
    dq: typing.Any = None,
    dk: typing.Any = None,
    dv: typing.Any = None,
) -> typing.Any: ...
def scaled_dot_product_attention_forward(
    q: typing.Any,
    k: typing.Any,
    v: typing.Any,
    mask: typing.Any = None,
    causal: typing.Any = False,
    offset: typing.Any = 0,
    out: typing.Any = None,
) -> typing.Any: ...
def set_pool_limit(bytes: typing.SupportsInt | typing.SupportsIndex) -> None: ...
def set_thread_limit(n: typing.SupportsInt | typing.SupportsIndex) -> None: ...
def sgd_update(
    params: typing.Any,
    grads: typing.Any,
    lr: typing.Any,
    weight_decay: typing.Any = 0.0,
    clip_norm: typing.Any = 0.0,
    clip_value: typing.Any = 0.0,
) -> typing.Any: ...
def sigmoid_cross_entropy_backward(
    y: typing.Any, t: typing.Any, dout: typing.Any = 1.0, dx: typing.Any = None
) -> typing.Any: ...
def sigmoid_cross_entropy_forward(
    x: typing.Any, t: typing.Any, epsilon: typing.Any = 0.0, y: typing.Any = None
) -> typing.Any: ...
def softmax_backward(dout: typing.Any, y: typing.Any, dx: typing.Any = None) -> typing.Any: ...
def softmax_cross_entropy_backward(
    y: typing.Any,
    t: typing.Any,
    dout: typing.Any = 1.0,
    weight: typing.Any = None,
    ignore_index: typing.Any = None,
    label_smoothing: typing.Any = 0.0,
    dx: typing.Any = None,
) -> typing.Any: ...
def softmax_cross_entropy_forward(
    x: typing.Any,
    t: typing.Any,
    weight: typing.Any = None,
    ignore_index: typing.Any = None,
    label_smoothing: typing.Any = 0.0,
    epsilon: typing.Any = 0.0,
    y: typing.Any = None,
) -> typing.Any: ...
def softmax_forward(x: typing.Any, out: typing.Any = None) -> typing.Any: ...
def split(x: typing.Any, columns: typing.Any, a: typing.Any = None, b: typing.Any = None) -> typing.Any: ...
def squared_error_backward(y: typing.Any, t: typing.Any, scale: typing.Any, dx: typing.Any = None) -> typing.Any: ...
def squared_error_forward(y: typing.Any, t: typing.Any) -> typing.Any: ...
def threads_after_wait(ns: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    Threads of a large call that follows one which waited so long for another thread.
    """

def trim() -> None:
    """
    Hand recycled memory back to the system.
    """

def use_isa(name: str) -> None:
    """
    Choose an instruction set. ValueError if it is not available.
    """

openmp: int = 201511
operations: list = [
    "matmul",
    "affine_forward",
    "affine_backward",
    "activation_forward",
    "activation_backward",
    "relu_forward",
    "relu_backward",
    "softmax_forward",
    "softmax_backward",
    "log_softmax_forward",
    "log_softmax_backward",
    "softmax_cross_entropy_forward",
    "softmax_cross_entropy_backward",
    "affine_softmax_cross_entropy",
    "sigmoid_cross_entropy_forward",
    "sigmoid_cross_entropy_backward",
    "squared_error_forward",
    "squared_error_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_backward",
    "layer_norm_forward",
    "layer_norm_backward",
    "group_norm_forward",
    "group_norm_backward",
    "dropout_forward",
    "dropout_backward",
    "legacy_dropout_forward",
    "dropout2d_forward",
    "dropout2d_backward",
    "sgd_update",
    "momentum_update",
    "nesterov_update",
    "adagrad_update",
    "rmsprop_update",
    "adam_update",
    "grad_norm",
    "scale_arrays",
    "moving_average",
    "embedding_forward",
    "embedding_backward",
    "embedding_backward_rows",
    "conv2d_forward",
    "conv2d_backward",
    "conv_transpose2d_forward",
    "conv_transpose2d_backward",
    "im2col",
    "col2im",
    "max_pool2d_forward",
    "max_pool2d_backward",
    "avg_pool2d_forward",
    "avg_pool2d_backward",
    "rnn_forward",
    "rnn_backward",
    "lstm_forward",
    "lstm_backward",
    "gru_forward",
    "gru_backward",
    "scaled_dot_product_attention_forward",
    "scaled_dot_product_attention_backward",
    "add_arrays",
    "concatenate",
    "split",
]
