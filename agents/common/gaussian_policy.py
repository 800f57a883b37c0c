"""Gaussian policy with linear mean and a log standard deviation that is a limited function of a linear output.

Degris, Pilarski and Sutton (2012), "Model-Free Reinforcement Learning with Continuous Action in Practice". Mean and
standard deviation are in units of half the action range around its middle, so that the same step sizes suit every
range. The paper's sigma = exp(u_sigma . x) can collapse (gradients grow as 1 / sigma^2) or explode; here log sigma
runs smoothly between two limits, with a gradient everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LOG_STD_CENTER = -1.0
"""log sigma of a fresh policy: sigma is 0.37 of half the range, so about 0.7 % of the actions need clipping."""
LOG_STD_REACH = 2.0
"""log sigma stays within this distance of the center: sigma between 0.05 and 2.7 of half the range."""

_HALF_LOG_TWO_PI = 0.5 * float(np.log(2.0 * np.pi))


def log_std(outputs: FloatArray) -> FloatArray:
    """Smoothly limited log sigma: center + reach tanh(z / reach) of the linear outputs z; slope 1 at z = 0."""
    return LOG_STD_CENTER + LOG_STD_REACH * np.tanh(outputs / LOG_STD_REACH)


def gaussian_log_density(actions: FloatArray, mean: FloatArray, log_sigma: FloatArray) -> FloatArray:
    """Log density of N(mean, sigma^2), summed over the last axis."""
    standardized = (actions - mean) * np.exp(-log_sigma)
    return (-0.5 * standardized * standardized - log_sigma - _HALF_LOG_TWO_PI).sum(axis=-1)


def gaussian_score(action: FloatArray, mean: FloatArray, log_std_outputs: FloatArray) -> FloatArray:
    """Gradient of log pi(a) with respect to the 2 k linear outputs: k means, then the k z of log sigma.

    (a - mu) / sigma^2 for the mean and ((a - mu)^2 / sigma^2 - 1) d log sigma / dz for the rest.

    Args:
        action, mean: [k], in units of half the action range.
        log_std_outputs: [k] linear outputs z, before ``log_std``.
    """
    sigma = np.exp(log_std(log_std_outputs))
    standardized = (action - mean) / sigma
    slope = 1.0 - np.tanh(log_std_outputs / LOG_STD_REACH) ** 2
    return np.concatenate([standardized / sigma, (standardized * standardized - 1.0) * slope])
