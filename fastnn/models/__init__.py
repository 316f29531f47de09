"""The books' networks and the perceptron gates."""

from .multi_layer_net import MultiLayerNet, MultiLayerNetExtend
from .perceptron import AND, NAND, OR, XOR
from .spiral_net import SpiralNet
from .two_layer_net import TwoLayerNet

__all__ = ["AND", "NAND", "OR", "XOR", "MultiLayerNet", "MultiLayerNetExtend", "SpiralNet", "TwoLayerNet"]
