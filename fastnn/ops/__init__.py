"""The public operations: named functions over arrays, the same on every backend.

Each makes the plain call first; where the backend declines it converts the arguments once, checks them, explains what
is wrong, and calls again. Outputs come last and may be given; results are new arrays otherwise.
"""

from .activation import activation_backward, activation_forward, relu_backward, relu_forward
from .affine import affine_backward, affine_forward, matmul, matmul_pairs
from .attention import scaled_dot_product_attention_backward, scaled_dot_product_attention_forward
from .branch import add_arrays, concatenate, split
from .conv import (
    col2im,
    conv2d_backward,
    conv2d_forward,
    conv_transpose2d_backward,
    conv_transpose2d_forward,
    im2col,
)
from .embedding import RowGradient, embedding_backward, embedding_backward_rows, embedding_forward
from .norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    group_norm_backward,
    group_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
)
from .optim import (
    adagrad_update,
    adam_update,
    grad_norm,
    momentum_update,
    moving_average,
    nesterov_update,
    rmsprop_update,
    scale_arrays,
    sgd_update,
)
from .pool import avg_pool2d_backward, avg_pool2d_forward, max_pool2d_backward, max_pool2d_forward
from .random import (
    dropout2d_backward,
    dropout2d_forward,
    dropout_backward,
    dropout_forward,
    legacy_dropout_forward,
)
from .rnn import gru_backward, gru_forward, lstm_backward, lstm_forward, rnn_backward, rnn_forward
from .softmax import (
    affine_softmax_cross_entropy,
    log_softmax_backward,
    log_softmax_forward,
    sigmoid_cross_entropy_backward,
    sigmoid_cross_entropy_forward,
    softmax_backward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    softmax_forward,
    squared_error_backward,
    squared_error_forward,
)

__all__ = [
    "RowGradient",
    "activation_backward",
    "activation_forward",
    "adagrad_update",
    "adam_update",
    "add_arrays",
    "affine_backward",
    "affine_forward",
    "affine_softmax_cross_entropy",
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
    "layer_norm_backward",
    "layer_norm_forward",
    "legacy_dropout_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "lstm_backward",
    "lstm_forward",
    "matmul",
    "matmul_pairs",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "momentum_update",
    "moving_average",
    "nesterov_update",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "rnn_backward",
    "rnn_forward",
    "scale_arrays",
    "scaled_dot_product_attention_backward",
    "scaled_dot_product_attention_forward",
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
]
