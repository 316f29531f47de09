"""The books' networks and the perceptron gates."""

from .deep_convnet import DeepConvNet
from .multi_layer_net import MultiLayerNet, MultiLayerNetExtend
from .perceptron import AND, NAND, OR, XOR
from .simple_convnet import SimpleConvNet
from .spiral_net import SpiralNet
from .two_layer_net import TwoLayerNet

__all__ = [
    "AND",
    "NAND",
    "OR",
    "XOR",
    "DeepConvNet",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "SimpleConvNet",
    "SpiralNet",
    "TwoLayerNet",
]
