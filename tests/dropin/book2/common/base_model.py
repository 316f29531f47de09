"""`BaseModel` of book 2: parameters in float16 files."""

import os
import pickle
import sys

sys.path.append("..")
from common.np import *
from common.util import to_cpu, to_gpu


class BaseModel:
    def __init__(self):
        self.params, self.grads = None, None

    def forward(self, *args):
        raise NotImplementedError

    def backward(self, *args):
        raise NotImplementedError

    def save_params(self, file_name=None):
        with open(file_name or self.__class__.__name__ + ".pkl", "wb") as f:
            pickle.dump([to_cpu(p.astype(np.float16)) for p in self.params], f)

    def load_params(self, file_name=None):
        file_name = (file_name or self.__class__.__name__ + ".pkl").replace("/", os.sep)
        if not os.path.exists(file_name):
            raise IOError("No file: " + file_name)
        with open(file_name, "rb") as f:
            for p, value in zip(self.params, pickle.load(f)):
                p[...] = value.astype("f")
