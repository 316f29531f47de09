"""Whole networks: `Network`, planned and run as one; `compile` freezes one for prediction."""

from .network import Network, Parameters

__all__ = ["Network", "Parameters"]
