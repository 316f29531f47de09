"""Whole networks: `Network`, planned and run as one; `compile` freezes one for prediction."""

from .callbacks import (
    Callback,
    Checkpoint,
    CosineDecay,
    EarlyStopping,
    LearningRate,
    ReduceLROnPlateau,
    StepDecay,
    cosine_decay,
    step_decay,
)
from .fit import Fit
from .network import Network, Parameters
from .predictor import Predictor, compile

__all__ = [
    "Callback",
    "Checkpoint",
    "CosineDecay",
    "EarlyStopping",
    "Fit",
    "LearningRate",
    "Network",
    "Parameters",
    "Predictor",
    "ReduceLROnPlateau",
    "StepDecay",
    "compile",
    "cosine_decay",
    "step_decay",
]
