"""The books' optimizers: `update(params, grads)` over two dicts (book 1) or two lists (book 2), one call for all.

Arrays change in place. A parameter may be a Python number: its entry is then replaced. The state (`v`, `h`, `m`) is
made at the first update, as a dict or list like `params`; `lr` and the others are read at every update. Every optimizer
takes the keywords

    clip_norm      if > 0, all gradients are first scaled so that their norm together is at most this
    clip_value     if > 0, every element is then cut to [-clip_value, clip_value]
    weight_decay   this times the parameter is then added to the gradient; 0 adds nothing, even where that is infinite

A step with a number outside of its interval (beta1 of 1, a negative clip_norm; see `ops/_bounds.py`) raises ValueError
and changes nothing. A negative lr climbs.
"""

from typing import Any

import numpy as np

from . import ops
from .described import described


_ARRAYS = {np.ndarray}


class Optimizer:
    """What all optimizers share. A subclass names its state arrays and makes the one call in `_step`."""

    state_names: tuple[str, ...] = ()
    weight_decay = clip_norm = clip_value = 0.0
    epsilon = 1e-7  # of those that have one

    def __init__(self, lr, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        for name in self.state_names:
            setattr(self, name, None)

    def __repr__(self):
        return described(self)

    def update(self, params, grads):
        """One step. Raises KeyError or ValueError if gradients or state do not match the parameters."""
        if isinstance(params, dict):
            p, g = list(params.values()), list(map(grads.__getitem__, params))
        else:
            p, g = list(params), list(grads)
        tail = self.weight_decay, self.clip_norm, self.clip_value
        if {*map(type, p)} != _ARRAYS:
            self._update_numbers(params, p, g, tail)
        elif self.state_names:
            self._update_state(params, p, g, tail)
        else:
            self._step(p, g, *tail)

    def _update_numbers(self, params, p, g, tail):
        """The same where some parameters are not arrays."""
        numbers = [i for i, value in enumerate(p) if not isinstance(value, np.ndarray)]
        for i in numbers:
            p[i], g[i] = np.array(p[i], np.float64), np.asarray(g[i], np.float64)
        self._update_state(params, p, g, tail)
        keys: Any = list(params) if isinstance(params, dict) else range(len(params))
        for i in numbers:
            params[keys[i]] = p[i][()]

    def _update_state(self, params, p, g, tail):
        """A step, and the state made before the first one."""
        first = bool(self.state_names) and getattr(self, self.state_names[0]) is None
        try:
            self._step(p, g, *self._state(params, p), *tail)
        except BaseException:
            for name in self.state_names if first else ():  # a state of parameters that were not updated
                setattr(self, name, None)
            raise

    def _state(self, params, p):
        """The state arrays, a list for each name of `state_names`, in the order of the parameters."""
        state = []
        for name in self.state_names:
            arrays = getattr(self, name)
            if arrays is None:
                arrays = [np.zeros_like(value) for value in p]
                if isinstance(params, dict):
                    arrays = dict(zip(params, arrays, strict=True))
                setattr(self, name, arrays)
            state.append(list(map(arrays.__getitem__, params)) if isinstance(params, dict) else arrays)
        return state

    def _step(self, params, grads, *state_and_tail):
        raise NotImplementedError


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

    lookahead False takes the old v, as book 1: this is Nesterov's accelerated gradient as Bengio et al. (2012) derive
    it, and PyTorch's SGD(nesterov=True) gives the same numbers. True, the default, takes the new v, as book 2's code
    does: another rule (five steps from 1 with gradient p, lr 0.1, momentum 0.9: -0.1297 instead of -0.1046).
    """

    lookahead = True

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

    def _step(self, params, grads, m, v, *tail):
        numbers = self.lr, self.beta1, self.beta2, self.epsilon, self.iter + 1
        ops.adam_update(params, grads, m, v, *numbers, self.decoupled, *tail)
        self.iter += 1  # only then: a step that is refused does not count


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p before the step (Loshchilov and Hutter 2019)."""

    decoupled = True

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-7, weight_decay=0.01, **options):
        super().__init__(lr, beta1, beta2, epsilon, weight_decay=weight_decay, **options)
