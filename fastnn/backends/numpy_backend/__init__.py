"""The reference backend: every operation in plain NumPy. What a function here computes is what the operation means.

T is float32 or float64 and is the dtype of every array that is not said to be something else. Outputs come last: None
allocates, an array given is filled and returned. Functions never decline and check nothing; `fastnn.ops` does that.
Sums over a batch (losses, norms, means, bias gradients) are accumulated in float64.

One module a family; the public functions of all of them are the list of operations.
"""

from .activation import *
from .affine import *
from .attention import *
from .branch import *
from .conv import *
from .embedding import *
from .norm import *
from .optim import *
from .pool import *
from .random import *
from .rnn import *
from .softmax import *
