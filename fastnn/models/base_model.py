"""What the models of book 2 share: lists of parameters and gradients, and files of weights."""

from pathlib import Path
from typing import Any

import numpy as np

from .. import init
from .. import time_layers as fastnn_layers
from ..described import listed
from ..pickles import load_pickle, to_pickle
from ..weights import load_weights, save_weights, write_atomically
from .planned import Planned


class BaseModel:
    """A model with `params` and `grads`, lists of arrays; subclasses have forward and backward. Book 2, `common`.

    dtype is that of the parameters; rng: None, a seed or a numpy.random.Generator.
    """

    layer_types = fastnn_layers
    params: Any = None
    grads: Any = None

    def __init__(self, dtype="float32", rng=None):
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(rng)

    def __repr__(self):
        parts = {name: part for name, part in vars(self).items() if hasattr(part, "forward") and name[0] != "_"}
        return listed(self, parts, str(self.dtype))

    def forward(self, *args):
        raise NotImplementedError

    def backward(self, *args):
        raise NotImplementedError

    def _collect(self, *layers):
        """`params` and `grads` of all layers, in order."""
        self.params = [p for layer in layers for p in layer.params]
        self.grads = [g for layer in layers for g in layer.grads]

    def _table(self, V, D):
        """Parameters of an embedding: deviation 0.01."""
        return init.normal((V, D), 1.0, self.rng, self.dtype, over=100)

    def _weights(self, D, M):
        """Deviation 1 / sqrt(D)."""
        return init.normal((D, M), 1.0, self.rng, self.dtype, over=np.sqrt(D))

    def _zeros(self, M):
        return np.zeros(M, self.dtype)

    def _recurrent(self, gates, D, H):
        """Wx (D, gates * H), Wh (H, gates * H), b."""
        return self._weights(D, gates * H), self._weights(H, gates * H), self._zeros(gates * H)

    def save_params(self, file_name=None):
        """Write the parameters: .npz, .safetensors as they are; .pkl (default: <class>.pkl) in float16, as the book."""
        path = Path(f"{type(self).__name__}.pkl" if file_name is None else file_name)
        if path.suffix == ".pkl":
            write_atomically(path, to_pickle([p.astype(np.float16) for p in self.params]))
        else:
            save_weights(path, {f"param{i}": p for i, p in enumerate(self.params)})

    def load_params(self, file_name=None):
        """Read what save_params or the book's wrote into the parameters, which stay the same arrays.

        Raises FileNotFoundError for a missing file; ValueError, before anything is changed, for one that does not hold
        arrays of these shapes.
        """
        path = Path(f"{type(self).__name__}.pkl" if file_name is None else file_name)
        if not path.exists():
            raise FileNotFoundError(f"No file: {path}")
        if path.suffix == ".pkl":
            arrays = load_pickle(path)
        else:
            named = load_weights(path)
            arrays = [named.get(f"param{i}") for i in range(len(named))]
        shapes = [np.shape(a) for a in arrays] if isinstance(arrays, list) else None
        wanted = [p.shape for p in self.params]
        if shapes != wanted or any(a is None for a in arrays):
            raise ValueError(f"load_params: {path} holds {shapes} but {type(self).__name__} has {wanted}")
        for p, a in zip(self.params, arrays, strict=True):
            p[...] = a


class Layered(Planned, BaseModel):
    """A model of `layers` in order and a `loss_layer`, which subclasses make.

    `forward` and `backward` are planned as a whole (`network`), so that a large vocabulary's scores are never stored.
    """

    layers: Any = None
    loss_layer: Any = None
    _input_gradient = True
    _running: Any = None  # the Network that backward continues
    _evaluated: Any = None  # (x, t, states before) where only the loss was computed

    def _chain(self):
        return [*self.layers, self.loss_layer]

    def __repr__(self):
        return listed(self, dict(enumerate(self.layers, 1)) | {"loss": self.loss_layer}, str(self.dtype))

    def predict(self, x, train_flg=False):
        """What the last layer gives, layer by layer: scores (N, ..., V). train_flg: whether dropout drops."""
        self._set_mode(train_flg)
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def forward(self, x, t, train_flg=True):
        """The mean loss of x and t. train_flg False: without dropout, and without preparing gradients."""
        self._running = self._evaluated = None
        self._set_mode(train_flg)
        if train_flg:
            loss = self._by_plan("forward", x, t)
            self._running = None if loss is None else self._network[1]
        else:
            states = self._states()
            loss = self._by_plan("loss", x, t)
            self._evaluated = None if loss is None else (x, t, states)
        return self.loss_layer.forward(self._scores(x, train_flg), t) if loss is None else loss

    def _scores(self, x, train_flg):
        """What `forward` has the loss of, where the layers work one by one."""
        takes_flag = any(hasattr(layer, "train_flg") for layer in self.layers)
        return self.predict(x, train_flg) if takes_flag else self.predict(x)  # a subclass's may take x alone

    def backward(self, dout=1):
        """Fill `grads`, times dout, once after each `forward` -> the gradient of x; None where x are indices."""
        if self._running is not None:
            return self._running.backward(dout)
        if self._evaluated is not None:
            (x, t, before), self._evaluated, now = self._evaluated, None, self._states()
            for layer, state in before:
                vars(layer).update(state)
            self.loss_layer.forward(self.predict(x), t)
            for layer, state in now:
                vars(layer).update(state)
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def reset_state(self):
        """Stateful recurrent layers start from zeros again."""
        for layer in self.layers:
            if hasattr(layer, "reset_state"):
                layer.reset_state()

    def _set_mode(self, train_flg):
        for layer in self.layers:
            if hasattr(layer, "train_flg"):
                layer.train_flg = train_flg

    def _states(self):
        """[(recurrent layer, {"h": ...})]"""
        stateful = [layer for layer in self.layers if getattr(layer, "stateful", False)]
        return [(layer, {name: getattr(layer, name) for name in "hc" if hasattr(layer, name)}) for layer in stateful]
