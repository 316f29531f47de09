"""The books' optimizers: `update(params, grads)` over two dicts (book 1) or two lists (book 2), one call for all arrays.

Arrays change in place. A parameter may be a Python number: its entry is then replaced. The state (`v`, `h`, `m`) is made
at the first update, as a dict or list like `params`; `lr` and the others are read at every update. Every optimizer takes

    clip_norm      if > 0, all gradients are first scaled so that their norm together is at most this
    clip_value     if > 0, every element is then cut to [-clip_value, clip_value]
    weight_decay   this times the parameter is then added to the gradient
"""

import math

import numpy as np

from . import ops


class Optimizer:
    """What all optimizers share. A subclass names its state arrays and makes the one call in `_step`."""

    state_names: tuple[str, ...] = ()

    def __init__(self, lr, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        for name in self.state_names:
            setattr(self, name, None)

    def update(self, params, grads):
        """One step. Raises KeyError or ValueError if gradients or state do not match the parameters."""
        keys = params.keys() if isinstance(params, dict) else range(len(params))
        if not isinstance(params, dict) and len(params) != len(grads):
            raise ValueError(f"update: {len(params)} parameters but {len(grads)} gradients")
        self._begin(params, keys)
        p, g = [params[k] for k in keys], [grads[k] for k in keys]
        state = [[s[k] for k in keys] for s in self._states()]
        if _one_call(p):
            self._step(p, g, *state, self.weight_decay, self.clip_norm, self.clip_value)
        else:
            for k, value in zip(keys, self._update_one_by_one(p, g, state), strict=True):
                params[k] = value

    def _begin(self, params, keys):
        """Make the state before the first update."""
        for name in self.state_names:
            if getattr(self, name) is None:
                zeros = {k: np.zeros_like(params[k], dtype=_dtype(params[k])) for k in keys}
                setattr(self, name, zeros if isinstance(params, dict) else list(zeros.values()))
            elif len(getattr(self, name)) < len(params):
                raise ValueError(f"update: {len(params)} parameters, but the first update had {len(getattr(self, name))}")

    def _states(self):
        return [getattr(self, name) for name in self.state_names]

    def _step(self, params, grads, *state_and_tail):
        raise NotImplementedError

    def _update_one_by_one(self, params, grads, state):
        """Parameters of different dtypes, Python numbers, or one array at two positions: a call each -> the parameters."""
        clip = 1.0
        if self.clip_norm > 0:
            clip = min(1.0, self.clip_norm / (math.hypot(*(ops.grad_norm([np.atleast_1d(g)]) for g in grads)) + 1e-6))
        updated = []
        for p, g, *s in zip(params, grads, *state, strict=True):
            is_array = isinstance(p, np.ndarray) and p.ndim > 0
            array = p if is_array else np.atleast_1d(np.asarray(p, _dtype(p)))
            if clip < 1.0:
                g = np.multiply(g, clip)
            s = [[s_.reshape(array.shape)] for s_ in s]
            self._step([array], [np.reshape(g, array.shape)], *s, self.weight_decay, 0.0, self.clip_value)
            if isinstance(p, np.ndarray):
                if not is_array:
                    p[...] = array[0]
                updated.append(p)
            else:
                updated.append(array[0])
        return updated


def _dtype(p):
    """The dtype a parameter and its state are kept in: float64 for Python and integer numbers."""
    dtype = p.dtype if isinstance(p, np.ndarray | np.floating) else np.dtype(np.float64)
    if dtype.kind != "f":
        raise TypeError(f"update: a parameter has dtype {dtype}; floating parameters are wanted")
    return dtype


def _one_call(params):
    """Whether all are different arrays of one dtype, so that one operation can take them together."""
    dtype = None
    for p in params:
        if not isinstance(p, np.ndarray) or p.ndim == 0 or (dtype is not None and p.dtype is not dtype):
            return False
        dtype = p.dtype
    return len(set(map(id, params))) == len(params)


class SGD(Optimizer):
    """p -= lr * g. Book 1 ch. 6."""

    def __init__(self, lr=0.01, **options):
        super().__init__(lr, **options)

    def _step(self, params, grads, *tail):
        ops.sgd_update(params, grads, self.lr, *tail)


class Momentum(Optimizer):
    """v = momentum * v - lr * g; p += v. Book 1 ch. 6."""

    state_names = ("v",)

    def __init__(self, lr=0.01, momentum=0.9, **options):
        super().__init__(lr, **options)
        self.momentum = momentum

    def _step(self, params, grads, v, *tail):
        ops.momentum_update(params, grads, v, self.lr, self.momentum, *tail)


class Nesterov(Momentum):
    """p += momentum^2 * v - (1 + momentum) * lr * g with v = momentum * v - lr * g, the new or the old v in the first.

    lookahead True takes the new v, as book 2 does and as the derivation in arXiv:1212.0901 has it; False the old, as
    book 1.
    """

    def __init__(self, lr=0.01, momentum=0.9, lookahead=True, **options):
        super().__init__(lr, momentum, **options)
        self.lookahead = lookahead

    def _step(self, params, grads, v, *tail):
        ops.nesterov_update(params, grads, v, self.lr, self.momentum, self.lookahead, *tail)


class AdaGrad(Optimizer):
    """h += g^2; p -= lr * g / (sqrt(h) + epsilon). Book 1 ch. 6."""

    state_names = ("h",)

    def __init__(self, lr=0.01, epsilon=1e-7, **options):
        super().__init__(lr, **options)
        self.epsilon = epsilon

    def _step(self, params, grads, h, *tail):
        ops.adagrad_update(params, grads, h, self.lr, self.epsilon, *tail)


class RMSprop(Optimizer):
    """h = decay_rate * h + (1 - decay_rate) * g^2; p -= lr * g / (sqrt(h) + epsilon). Book 1, `common`."""

    state_names = ("h",)

    def __init__(self, lr=0.01, decay_rate=0.99, epsilon=1e-7, **options):
        super().__init__(lr, **options)
        self.decay_rate = decay_rate
        self.epsilon = epsilon

    def _step(self, params, grads, h, *tail):
        ops.rmsprop_update(params, grads, h, self.lr, self.decay_rate, self.epsilon, *tail)


class Adam(Optimizer):
    """m += (1 - beta1) * (g - m); v += (1 - beta2) * (g^2 - v); p -= a * m / (sqrt(v) + epsilon).

    a = lr * sqrt(1 - beta2^iter) / (1 - beta1^iter): the books' rule, epsilon outside the correction. Book 1 ch. 6.
    """

    state_names = ("m", "v")
    decoupled = False

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-7, **options):
        super().__init__(lr, **options)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.iter = 0

    def _begin(self, params, keys):
        super()._begin(params, keys)
        self.iter += 1

    def _step(self, params, grads, m, v, *tail):
        numbers = self.lr, self.beta1, self.beta2, self.epsilon, self.iter
        ops.adam_update(params, grads, m, v, *numbers, self.decoupled, *tail)


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p before the step (Loshchilov and Hutter 2019)."""

    decoupled = True

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-7, weight_decay=0.01, **options):
        super().__init__(lr, beta1, beta2, epsilon, weight_decay=weight_decay, **options)
