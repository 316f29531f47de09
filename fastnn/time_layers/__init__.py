"""The layers of book 2 for sequences: arrays (N, T, ...), time along axis 1. What `fastnn.layers` says holds here too.

Results have NumPy's promoted dtype (the books' recurrent layers: always float32).
"""

from .attention import Attention, AttentionWeight, TimeAttention, WeightSum
from .multi_head import MultiHeadAttention
from .pointwise import TimeAffine, TimeDropout, TimeEmbedding, TimeSigmoidWithLoss, TimeSoftmaxWithLoss
from .recurrent import GRU, LSTM, RNN, TimeBiLSTM, TimeGRU, TimeLSTM, TimeRNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionWeight",
    "MultiHeadAttention",
    "TimeAffine",
    "TimeAttention",
    "TimeBiLSTM",
    "TimeDropout",
    "TimeEmbedding",
    "TimeGRU",
    "TimeLSTM",
    "TimeRNN",
    "TimeSigmoidWithLoss",
    "TimeSoftmaxWithLoss",
    "WeightSum",
]
