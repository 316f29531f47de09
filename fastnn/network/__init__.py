"""Whole networks: `Network`, planned and run as one; `compile` freezes one for prediction."""

from .fit import Callback, Checkpoint, EarlyStopping, Fit, LearningRate, cosine_decay, step_decay
from .network import Network, Parameters
from .predictor import Predictor, compile

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Fit",
    "LearningRate",
    "Network",
    "Parameters",
    "Predictor",
    "compile",
    "cosine_decay",
    "step_decay",
]
