"""The books' networks and the perceptron gates."""

from .base_model import BaseModel
from .bilstm import BiLSTMClassifier
from .deep_convnet import DeepConvNet
from .multi_layer_net import MultiLayerNet, MultiLayerNetExtend
from .perceptron import AND, NAND, OR, XOR
from .rnnlm import BetterRnnlm, BetterRnnlmGen, Rnnlm, RnnlmGen, SimpleRnnlm
from .seq2seq import (
    AttentionDecoder,
    AttentionEncoder,
    AttentionSeq2seq,
    Decoder,
    Encoder,
    PeekyDecoder,
    PeekySeq2seq,
    Seq2seq,
)
from .simple_convnet import SimpleConvNet
from .spiral_net import SpiralNet
from .two_layer_net import TwoLayerNet
from .word2vec import CBOW, SimpleCBOW, SimpleSkipGram, SkipGram

__all__ = [
    "AND",
    "CBOW",
    "NAND",
    "OR",
    "XOR",
    "AttentionDecoder",
    "AttentionEncoder",
    "AttentionSeq2seq",
    "BaseModel",
    "BetterRnnlm",
    "BetterRnnlmGen",
    "BiLSTMClassifier",
    "Decoder",
    "DeepConvNet",
    "Encoder",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "PeekyDecoder",
    "PeekySeq2seq",
    "Rnnlm",
    "RnnlmGen",
    "Seq2seq",
    "SimpleCBOW",
    "SimpleConvNet",
    "SimpleRnnlm",
    "SimpleSkipGram",
    "SkipGram",
    "SpiralNet",
    "TwoLayerNet",
]
