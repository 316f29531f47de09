"""The Numba backend: the loops that NumPy takes in several passes, each compiled once per dtype at its first call.

Not here, so NumPy's own function is used, because nothing is left to win: matmul and affine_backward are BLAS calls
(float32, 100x784x50: the sum for db is 3 us of 157), scale_arrays is one pass over memory (1e6 elements 40 us, a kernel
45), as are dropout2d, sums and concatenations; attention is products and softmax of blocks. affine_forward adds bias
and activation to NumPy's product in one pass. All others were measured at the `bench` cases of the tests on one thread:
1.0 to 240 times as fast as NumPy.

Arguments are made C-contiguous, aligned and writable first, so that the compiler sees one type per dtype. Large arrays
are cut along their first axis and the pieces handed to Python threads, since kernels release the GIL: no OpenMP, whose
teams do not survive a fork; a forked child starts without threads, and with one thread the kernel is called directly.
One module a family. Numba's cache on disk is renewed when the file of a kernel changes, not that of a helper: after an
edit of `_compile.py` or `_math.py`, delete `__pycache__`.
"""

import warnings

with warnings.catch_warnings():  # Numba itself opens a file without an encoding; such a warning may be an error here
    warnings.simplefilter("ignore", EncodingWarning)
    import numba  # noqa: F401

from .activation import *
from .affine import *
from .conv import *
from .embedding import *
from .norm import *
from .optim import *
from .pool import *
from .random import *
from .rnn import *
from .softmax import *
