"""COPDAC-B and SAC-B on the continuous bandit of the deterministic policy gradient paper.

Silver et al. (2014), section 5.1. There are no states: the deterministic policy is a vector theta, the stochastic one
N(theta, e^y I). Each batch of actions refits a critic by least squares on the compatible features and a bias, then
the actor takes one step:

    COPDAC-B:  a ~ N(theta, sigma^2 I), features grad mu (a - theta) = a - theta
               theta += alpha grad mu grad mu^T w = alpha w
    SAC-B:     a ~ N(theta, e^y I), features psi(a) = grad log pi(a)
               (theta, y) += alpha psi(a) psi(a)^T w

The paper sweeps "all step-size parameters and variance parameters (initial y for SAC; sigma^2 for COPDAC)" and takes
one actor step a batch. It does not say in so many words whether SAC-B's step takes psi Q at one action or averages it
over the batch; its second experiment decides. There SAC-B keeps COPDAC-B's fixed variance, and COPDAC-B still wins "by
a very wide margin that grows larger with increasing dimension". With a fixed variance E[psi psi^T] w is COPDAC-B's own
step, so that an average over 2 m actions comes within a small factor of it at every m; the step of one action, the
sampled integral of the paper's section 6, is what falls behind more and more. One action is SAC-B here, the average is
an ablation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.environments.bandit import ContinuousBandit, cost

N_ACTIONS = 10_000
LARGEST_MEAN, LARGEST_LOG_VARIANCE = 1e6, 40.0
"""Beyond these a run counts as diverged."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CopdacB:
    """Settings of the deterministic method."""

    step_size: float
    std: float  # of every entry of the actions around theta


@dataclass(frozen=True)
class SacB:
    """Settings of the stochastic method."""

    step_size: float
    variance_step_size: float  # for y; 0 keeps the variance, and y is no parameter of the policy
    std: float  # at the start
    averaged: bool = False  # the actor's step is the mean over the batch, not that of its last action


BanditSettings = CopdacB | SacB


def compatible_critic(features: FloatArray, rewards: FloatArray) -> FloatArray:
    """[k] weights w of the least-squares fit r = w . features + bias.

    Args:
        features: [n, k].
        rewards: [n].
    """
    design = np.column_stack([features, np.ones(len(features))])
    weights, *_ = np.linalg.lstsq(design, rewards)
    return np.asarray(weights[:-1], dtype=np.float64)


def copdac_gradient(theta: FloatArray, actions: FloatArray, rewards: FloatArray) -> FloatArray:
    """[m] grad_a Q at a = theta, the compatible critic's w itself.

    Args:
        theta: [m].
        actions: [n, m].
        rewards: [n].
    """
    return compatible_critic(actions - theta, rewards)


def gaussian_scores(theta: FloatArray, y: float, actions: FloatArray) -> FloatArray:
    """[n, m + 1] gradients of log N(a; theta, e^y I) with respect to theta and y.

    (a - theta) / e^y and (|a - theta|^2 / e^y - m) / 2.
    """
    scaled = (actions - theta) / np.exp(y)
    spread = ((scaled * (actions - theta)).sum(axis=1) - theta.size) / 2.0
    return np.column_stack([scaled, spread])


def sac_gradients(
    theta: FloatArray, y: float, actions: FloatArray, rewards: FloatArray, fixed_variance: bool = False
) -> FloatArray:
    """[n, m + 1] psi Q of every action, Q = psi^T w the compatible critic without its bias, which is a baseline.

    Args:
        theta: [m].
        y: logarithm of the variance.
        actions: [n, m].
        rewards: [n].
        fixed_variance: theta is all that the policy can change: psi has no entry for y, and the last column is 0.
    """
    scores = gaussian_scores(theta, y, actions)
    if fixed_variance:
        scores = scores[:, :-1]
    gradients = scores * (scores @ compatible_critic(scores, rewards))[:, None]
    return np.column_stack([gradients, np.zeros(len(actions))]) if fixed_variance else gradients


def learn(settings: BanditSettings, reward: Callable[[FloatArray], FloatArray], n_dims: int, seed: int) -> FloatArray:
    """The means theta after every batch, [n_batches + 1, m], from theta = 0; NaN from where a run has diverged.

    Args:
        settings: of the method to run.
        reward: of actions [n, m], [n].
        n_dims: m; a batch has 2 m actions, 10 000 are taken in all.
        seed: of the actions.
    """
    generator = np.random.default_rng(seed)
    theta, y = np.zeros(n_dims), 2.0 * np.log(settings.std)
    means = np.full((N_ACTIONS // (2 * n_dims) + 1, n_dims), np.nan)
    means[0] = theta
    for batch in range(1, len(means)):
        actions = theta + np.exp(y / 2.0) * generator.standard_normal((2 * n_dims, n_dims))
        rewards = reward(actions)
        if isinstance(settings, CopdacB):
            theta = theta + settings.step_size * copdac_gradient(theta, actions, rewards)
        else:
            gradients = sac_gradients(theta, y, actions, rewards, settings.variance_step_size == 0.0)
            gradient = gradients.mean(axis=0) if settings.averaged else gradients[-1]
            theta = theta + settings.step_size * gradient[:-1]
            y = y + settings.variance_step_size * gradient[-1]
        if not (np.abs(theta).max() < LARGEST_MEAN and abs(y) < LARGEST_LOG_VARIANCE):
            break
        means[batch] = theta
    return means


def cost_curve(settings: BanditSettings, n_dims: int, seed: int) -> FloatArray:
    """[n_batches + 1] costs of the mean; the seed chooses the rotation of the costs, too; infinite after divergence."""
    env = ContinuousBandit(n_dims)
    env.reset(seed=seed)
    costs = cost(env.matrix, learn(settings, lambda actions: -cost(env.matrix, actions), n_dims, seed + 1))
    return np.where(np.isnan(costs), np.inf, costs)


DIMENSIONS = (10, 25, 50)
STEP_SIZES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8)
STDS = (1e-3, 1e-2, 0.1, 1.0)
VARIANCE_STEP_SIZES = (0.01, 0.1, 1.0)


ABLATIONS = ("sac-b, averaged", "sac-b, averaged, fixed variance", "sac-b, averaged, from variance 1")
"""Ours; the others are the paper's two experiments."""


def grids() -> dict[str, list[BanditSettings]]:
    """What every method is tuned over: the same step sizes and (initial) standard deviations.

    SAC-B has y's step size besides, except where its variance is fixed. "from variance 1" is a part of "averaged".
    """
    stochastic = list(itertools.product(STEP_SIZES, VARIANCE_STEP_SIZES, STDS))
    fixed = list(itertools.product(STEP_SIZES, (0.0,), STDS))
    averaged = [SacB(*sizes, averaged=True) for sizes in stochastic]
    return {
        "copdac-b": [CopdacB(*sizes) for sizes in itertools.product(STEP_SIZES, STDS)],
        "sac-b": [SacB(*sizes) for sizes in stochastic],
        "sac-b, fixed variance": [SacB(*sizes) for sizes in fixed],
        "sac-b, averaged": list[BanditSettings](averaged),
        "sac-b, averaged, fixed variance": [SacB(*sizes, averaged=True) for sizes in fixed],
        "sac-b, averaged, from variance 1": [settings for settings in averaged if settings.std == 1.0],
    }


def final_cost(settings: BanditSettings, n_dims: int, seed: int) -> float:
    """Cost of the mean after 10 000 actions."""
    return float(cost_curve(settings, n_dims, seed)[-1])
