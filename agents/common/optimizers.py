"""Update rules on flat vectors, in place.

A gradient step of a small network is bound by the number of calls, not by arithmetic: one flat vector makes it a
handful of NumPy calls whatever the number of layers. The rules are those compared by Mnih et al. (2016), section 4:
RMSProp with statistics shared by all workers, RMSProp with statistics of each worker's own, and momentum SGD; Adam
(Kingma & Ba, 2015) besides.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[Any]


@functools.lru_cache(maxsize=16)
def _number(value: float, dtype: np.dtype[Any]) -> Vector:
    """A constant as NumPy computes with it: to make a Python number its own takes it a third of a short update."""
    return np.array(value, dtype=dtype)


def rmsprop_update(
    parameters: Vector,
    gradient: Vector,
    square_average: Vector,
    scratch: Vector,
    learning_rate: float,
    alpha: float,
    eps: float,
) -> None:
    """Non-centred RMSProp with epsilon inside the root (Mnih et al. 2016, eq. S2 and S3).

    g = alpha * g + (1 - alpha) * gradient^2;  parameters -= learning_rate * gradient / sqrt(g + eps).
    torch.optim.RMSprop puts eps outside the root; with eps = 0.1 that is another algorithm.

    Args:
        parameters: (P,), changed in place.
        gradient: (P,), of the loss; left as it is.
        square_average: (P,), g, changed in place; starts at 0.
        scratch: (P,), overwritten.
        learning_rate: step size.
        alpha: decay of g, in [0, 1).
        eps: added to g inside the root.
    """
    dtype = parameters.dtype
    np.multiply(gradient, gradient, scratch)
    np.multiply(scratch, _number(1.0 - alpha, dtype), scratch)
    np.multiply(square_average, _number(alpha, dtype), square_average)
    np.add(square_average, scratch, square_average)
    np.add(square_average, _number(eps, dtype), scratch)
    np.sqrt(scratch, scratch)
    np.divide(gradient, scratch, scratch)
    np.multiply(scratch, dtype.type(learning_rate), scratch)
    np.subtract(parameters, scratch, parameters)


def momentum_update(
    parameters: Vector,
    gradient: Vector,
    velocity: Vector,
    scratch: Vector,
    learning_rate: float,
    momentum: float,
) -> None:
    """Momentum SGD (Mnih et al. 2016, section 4.5).

    m = momentum * m + (1 - momentum) * gradient;  parameters -= learning_rate * m.

    Args:
        parameters: (P,), changed in place.
        gradient: (P,), of the loss.
        velocity: (P,), m, changed in place; starts at 0.
        scratch: (P,), overwritten.
        learning_rate: step size.
        momentum: decay of m, in [0, 1).
    """
    np.multiply(gradient, 1.0 - momentum, out=scratch)
    velocity *= momentum
    velocity += scratch
    np.multiply(velocity, learning_rate, out=scratch)
    parameters -= scratch


def adam_update(
    parameters: Vector,
    gradient: Vector,
    average: Vector,
    square_average: Vector,
    scratch: Vector,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Adam (Kingma & Ba 2015, Algorithm 1, with the bias corrections folded into the step size).

    Args:
        parameters: (P,), changed in place.
        gradient: (P,), of the loss.
        average: (P,), m, changed in place; starts at 0.
        square_average: (P,), v, changed in place; starts at 0.
        scratch: (P,), overwritten.
        step: number of updates including this one, from 1.
        learning_rate: step size.
        beta1: decay of m.
        beta2: decay of v.
        eps: added outside the root, to the corrected sqrt(v).
    """
    average *= beta1
    np.multiply(gradient, 1.0 - beta1, out=scratch)
    average += scratch
    square_average *= beta2
    np.multiply(gradient, gradient, out=scratch)
    scratch *= 1.0 - beta2
    square_average += scratch
    np.sqrt(square_average, out=scratch)
    scratch *= 1.0 / math.sqrt(1.0 - beta2**step)
    scratch += eps
    np.divide(average, scratch, out=scratch)
    scratch *= learning_rate / (1.0 - beta1**step)
    parameters -= scratch


def clip_gradient(gradient: Vector, max_norm: float | None) -> float:
    """Scale a flat gradient in place to a Euclidean norm of at most ``max_norm``; answer the norm it had.

    A norm that is not finite is answered as it is and the gradient left alone: the caller refuses it.
    """
    norm = math.sqrt(float(np.dot(gradient, gradient)))
    if not math.isfinite(norm):
        # the float32 sum of squares may overflow although every entry is finite
        norm = float(np.linalg.norm(gradient.astype(np.float64)))
    if max_norm is not None and math.isfinite(norm) and norm > max_norm:
        gradient *= max_norm / norm
    return norm
