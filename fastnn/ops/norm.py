"""Batch normalisation over the rows of a matrix."""

from .. import backends
from ._check import Call


def batch_norm_forward(x, gamma, beta, epsilon=1e-6, out=None, mean=None, var=None):
    """gamma * (x - mean) / sqrt(var + epsilon) + beta with the batch's own statistics.

    x (N, D), gamma and beta (D,) -> (out (N, D), mean (D,), var (D,), biased). Raises ValueError if the shapes do not
    fit. Book 1 ch. 6; Ioffe and Szegedy 2015.
    """
    result = backends.active.batch_norm_forward(x, gamma, beta, epsilon, out, mean, var)
    return _batch_norm_forward(x, gamma, beta, epsilon, out, mean, var) if result is None else result


def _batch_norm_forward(x, gamma, beta, epsilon, out, mean, var):
    call = Call("batch_norm_forward")
    x, gamma, beta = call.floats(x=x, gamma=gamma, beta=beta)
    _columns(call, x, gamma=gamma, beta=beta)
    call.check_out("out", out, x.shape)
    call.check_out("mean", mean, x.shape[1:])
    call.check_out("var", var, x.shape[1:])
    return call.deliver(backends.checked.batch_norm_forward(x, gamma, beta, float(epsilon)), out, mean, var)


def batch_norm_inference(x, gamma, beta, mean, var, epsilon=1e-6, out=None):
    """gamma * (x - mean) / sqrt(var + epsilon) + beta with given statistics: x (N, D), the others (D,) -> (N, D)."""
    result = backends.active.batch_norm_inference(x, gamma, beta, mean, var, epsilon, out)
    return _batch_norm_inference(x, gamma, beta, mean, var, epsilon, out) if result is None else result


def _batch_norm_inference(x, gamma, beta, mean, var, epsilon, out):
    call = Call("batch_norm_inference")
    x, gamma, beta, mean, var = call.floats(x=x, gamma=gamma, beta=beta, mean=mean, var=var)
    _columns(call, x, gamma=gamma, beta=beta, mean=mean, var=var)
    call.check_out("out", out, x.shape)
    return call.deliver(backends.checked.batch_norm_inference(x, gamma, beta, mean, var, float(epsilon)), out)


def batch_norm_backward(dout, x, gamma, mean, var, epsilon=1e-6, dx=None, dgamma=None, dbeta=None):
    """Gradients through the whole normalisation, mean and variance included -> (dx (N, D), dgamma (D,), dbeta (D,)).

    dout and x (N, D), gamma (D,), mean and var as batch_norm_forward returned them. Raises ValueError if the shapes do
    not fit. Book 1 ch. 6.
    """
    result = backends.active.batch_norm_backward(dout, x, gamma, mean, var, epsilon, dx, dgamma, dbeta)
    return _batch_norm_backward(dout, x, gamma, mean, var, epsilon, dx, dgamma, dbeta) if result is None else result


def _batch_norm_backward(dout, x, gamma, mean, var, epsilon, dx, dgamma, dbeta):
    call = Call("batch_norm_backward")
    dout, x, gamma, mean, var = call.floats(dout=dout, x=x, gamma=gamma, mean=mean, var=var)
    _columns(call, x, gamma=gamma, mean=mean, var=var)
    call.same_shape(dout=dout, x=x)
    call.check_out("dx", dx, x.shape)
    call.check_out("dgamma", dgamma, x.shape[1:])
    call.check_out("dbeta", dbeta, x.shape[1:])
    result = backends.checked.batch_norm_backward(dout, x, gamma, mean, var, float(epsilon))
    return call.deliver(result, dx, dgamma, dbeta)


def _columns(call, x, **vectors):
    call.ndim(2, x=x)
    for name, v in vectors.items():
        call.require(v.shape == x.shape[1:], f"{name} is {v.shape} but x is {x.shape}; {name} must be ({x.shape[1]},)")
