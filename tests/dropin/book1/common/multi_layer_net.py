"""The network of book 1's `common.multi_layer_net`."""

from common.multi_layer_net_extend import *


class MultiLayerNet(MultiLayerNetExtend):
    def __init__(
        self, input_size, hidden_size_list, output_size, activation="relu", weight_init_std="relu",
        weight_decay_lambda=0,
    ):
        super().__init__(input_size, hidden_size_list, output_size, activation, weight_init_std, weight_decay_lambda)
