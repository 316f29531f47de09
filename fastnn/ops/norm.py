"""Batch, layer and group normalisation."""

import operator

from .. import backends
from ._check import Call


def batch_norm_forward(x, gamma, beta, epsilon=1e-6, out=None, mean=None, var=None):
    """gamma * (x - mean) / sqrt(var + epsilon) + beta with the batch's own statistics.

    x (N, D), gamma and beta (D,) -> (out (N, D), mean (D,), var (D,), biased): the books' way. x (N, C, ...):
    statistics over all axes but the channels', the others (C,), as PyTorch's BatchNorm2d. Mean and variance of nothing
    are 0. The mean of a constant is that constant, so that it normalises to beta. Raises ValueError if the shapes do
    not fit or epsilon is negative or not finite. Book 1 ch. 6; Ioffe and Szegedy 2015.
    """
    result = backends.active.batch_norm_forward(x, gamma, beta, epsilon, out, mean, var)
    return _batch_norm_forward(x, gamma, beta, epsilon, out, mean, var) if result is None else result


def _batch_norm_forward(x, gamma, beta, epsilon, out, mean, var):
    call = Call("batch_norm_forward")
    epsilon = call.number("epsilon", epsilon)
    x, gamma, beta = call.floats(x=x, gamma=gamma, beta=beta)
    _columns(call, x, gamma=gamma, beta=beta)
    call.check_out("out", out, x.shape)
    call.check_out("mean", mean, x.shape[1:2])
    call.check_out("var", var, x.shape[1:2])
    return call.deliver(backends.checked.batch_norm_forward(x, gamma, beta, epsilon), out, mean, var)


def batch_norm_inference(x, gamma, beta, mean, var, epsilon=1e-6, out=None):
    """gamma * (x - mean) / sqrt(var + epsilon) + beta with given statistics -> out like x.

    x (N, D), the others (D,); or x (N, C, ...), the others (C,). Raises ValueError if the shapes do not fit.
    """
    result = backends.active.batch_norm_inference(x, gamma, beta, mean, var, epsilon, out)
    return _batch_norm_inference(x, gamma, beta, mean, var, epsilon, out) if result is None else result


def _batch_norm_inference(x, gamma, beta, mean, var, epsilon, out):
    call = Call("batch_norm_inference")
    epsilon = call.number("epsilon", epsilon)
    x, gamma, beta, mean, var = call.floats(x=x, gamma=gamma, beta=beta, mean=mean, var=var)
    _columns(call, x, gamma=gamma, beta=beta, mean=mean, var=var)
    call.check_out("out", out, x.shape)
    return call.deliver(backends.checked.batch_norm_inference(x, gamma, beta, mean, var, epsilon), out)


def batch_norm_backward(dout, x, gamma, mean, var, epsilon=1e-6, dx=None, dgamma=None, dbeta=None):
    """Gradients through the whole normalisation, mean and variance included -> (dx, dgamma, dbeta).

    dout and x (N, D) or (N, C, ...), gamma (D,) or (C,), mean and var as batch_norm_forward returned them. Raises
    ValueError if the shapes do not fit. Book 1 ch. 6.
    """
    result = backends.active.batch_norm_backward(dout, x, gamma, mean, var, epsilon, dx, dgamma, dbeta)
    return _batch_norm_backward(dout, x, gamma, mean, var, epsilon, dx, dgamma, dbeta) if result is None else result


def _batch_norm_backward(dout, x, gamma, mean, var, epsilon, dx, dgamma, dbeta):
    call = Call("batch_norm_backward")
    epsilon = call.number("epsilon", epsilon)
    dout, x, gamma, mean, var = call.floats(dout=dout, x=x, gamma=gamma, mean=mean, var=var)
    _columns(call, x, gamma=gamma, mean=mean, var=var)
    call.same_shape(dout=dout, x=x)
    call.check_out("dx", dx, x.shape)
    call.check_out("dgamma", dgamma, x.shape[1:2])
    call.check_out("dbeta", dbeta, x.shape[1:2])
    result = backends.checked.batch_norm_backward(dout, x, gamma, mean, var, epsilon)
    return call.deliver(result, dx, dgamma, dbeta)


def layer_norm_forward(x, gamma, beta, epsilon=1e-5, out=None, mean=None, rstd=None):
    """gamma * (x - mean) * rstd + beta with the statistics of each row, rstd = 1 / sqrt(var + epsilon).

    x (N, D), gamma and beta (D,) -> (out (N, D), mean (N,), rstd (N,)); biased variance. Raises ValueError if the
    shapes do not fit. Ba, Kiros and Hinton 2016.
    """
    result = backends.active.layer_norm_forward(x, gamma, beta, epsilon, out, mean, rstd)
    return _layer_norm_forward(x, gamma, beta, epsilon, out, mean, rstd) if result is None else result


def _layer_norm_forward(x, gamma, beta, epsilon, out, mean, rstd):
    call = Call("layer_norm_forward")
    epsilon = call.number("epsilon", epsilon)
    x, gamma, beta = call.floats(x=x, gamma=gamma, beta=beta)
    call.ndim(2, x=x)
    _columns(call, x, gamma=gamma, beta=beta)
    call.check_out("out", out, x.shape)
    call.check_out("mean", mean, x.shape[:1])
    call.check_out("rstd", rstd, x.shape[:1])
    return call.deliver(backends.checked.layer_norm_forward(x, gamma, beta, epsilon), out, mean, rstd)


def layer_norm_backward(dout, x, gamma, mean, rstd, dx=None, dgamma=None, dbeta=None):
    """Gradients through the whole normalisation -> (dx (N, D), dgamma (D,), dbeta (D,)).

    dout and x (N, D), gamma (D,), mean and rstd (N,) as layer_norm_forward returned them. Raises ValueError if the
    shapes do not fit.
    """
    result = backends.active.layer_norm_backward(dout, x, gamma, mean, rstd, dx, dgamma, dbeta)
    return _layer_norm_backward(dout, x, gamma, mean, rstd, dx, dgamma, dbeta) if result is None else result


def _layer_norm_backward(dout, x, gamma, mean, rstd, dx, dgamma, dbeta):
    call = Call("layer_norm_backward")
    dout, x, gamma, mean, rstd = call.floats(dout=dout, x=x, gamma=gamma, mean=mean, rstd=rstd)
    call.ndim(2, x=x)
    _columns(call, x, gamma=gamma)
    call.same_shape(dout=dout, x=x)
    _statistics(call, x, x.shape[:1], mean=mean, rstd=rstd)
    call.check_out("dx", dx, x.shape)
    call.check_out("dgamma", dgamma, x.shape[1:])
    call.check_out("dbeta", dbeta, x.shape[1:])
    return call.deliver(backends.checked.layer_norm_backward(dout, x, gamma, mean, rstd), dx, dgamma, dbeta)


def group_norm_forward(x, gamma, beta, groups, epsilon=1e-5, out=None, mean=None, rstd=None):
    """gamma * (x - mean) * rstd + beta with the statistics of each group of channels of each image.

    x (N, C, ...), gamma and beta (C,), groups an integer that divides C -> (out like x, mean and rstd (N, groups)),
    rstd = 1 / sqrt(var + epsilon), biased variance. Raises ValueError if the shapes do not fit. Wu and He 2018.
    """
    result = backends.active.group_norm_forward(x, gamma, beta, groups, epsilon, out, mean, rstd)
    return _group_norm_forward(x, gamma, beta, groups, epsilon, out, mean, rstd) if result is None else result


def _group_norm_forward(x, gamma, beta, groups, epsilon, out, mean, rstd):
    call = Call("group_norm_forward")
    epsilon = call.number("epsilon", epsilon)
    x, gamma, beta = call.floats(x=x, gamma=gamma, beta=beta)
    _columns(call, x, gamma=gamma, beta=beta)
    groups = _groups(call, x, groups)
    call.check_out("out", out, x.shape)
    call.check_out("mean", mean, (x.shape[0], groups))
    call.check_out("rstd", rstd, (x.shape[0], groups))
    return call.deliver(backends.checked.group_norm_forward(x, gamma, beta, groups, epsilon), out, mean, rstd)


def group_norm_backward(dout, x, gamma, groups, mean, rstd, dx=None, dgamma=None, dbeta=None):
    """Gradients through the whole normalisation -> (dx like x, dgamma (C,), dbeta (C,)).

    dout and x (N, C, ...), gamma (C,), mean and rstd (N, groups) as group_norm_forward returned them. Raises ValueError
    if the shapes do not fit.
    """
    result = backends.active.group_norm_backward(dout, x, gamma, groups, mean, rstd, dx, dgamma, dbeta)
    return _group_norm_backward(dout, x, gamma, groups, mean, rstd, dx, dgamma, dbeta) if result is None else result


def _group_norm_backward(dout, x, gamma, groups, mean, rstd, dx, dgamma, dbeta):
    call = Call("group_norm_backward")
    dout, x, gamma, mean, rstd = call.floats(dout=dout, x=x, gamma=gamma, mean=mean, rstd=rstd)
    _columns(call, x, gamma=gamma)
    groups = _groups(call, x, groups)
    call.same_shape(dout=dout, x=x)
    _statistics(call, x, (x.shape[0], groups), mean=mean, rstd=rstd)
    call.check_out("dx", dx, x.shape)
    call.check_out("dgamma", dgamma, x.shape[1:2])
    call.check_out("dbeta", dbeta, x.shape[1:2])
    return call.deliver(backends.checked.group_norm_backward(dout, x, gamma, groups, mean, rstd), dx, dgamma, dbeta)


def _columns(call, x, **vectors):
    call.require(x.ndim >= 2, f"x is {x.shape}; it must have 2 dimensions (N, D) or more (N, C, ...)")
    for name, v in vectors.items():
        call.require(v.shape == x.shape[1:2], f"{name} is {v.shape} but x is {x.shape}; {name} must be ({x.shape[1]},)")


def _statistics(call, x, shape, **vectors):
    for name, v in vectors.items():
        call.require(v.shape == shape, f"{name} is {v.shape} but x is {x.shape}; {name} must be {shape}")


def _groups(call, x, groups):
    try:
        groups = operator.index(groups)
    except TypeError:
        raise call.error(TypeError, f"groups is {groups!r}; it must be an integer") from None
    C = x.shape[1]
    good = 1 <= groups <= max(C, 1) and C % groups == 0
    call.require(good, f"groups is {groups}; it must divide the {C} channels of x")
    return groups
