"""`np` of book 2's `common.np`: NumPy, or CuPy if the switch is on."""

from common.config import GPU

if GPU:
    import cupy as np

    np.cuda.set_allocator(np.cuda.MemoryPool().malloc)
    print("\033[92m" + "-" * 60 + "\033[0m")
    print("GPU")
else:
    import numpy as np
