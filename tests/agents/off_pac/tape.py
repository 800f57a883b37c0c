"""A recording of what happened in training, and Off-PAC written down once more, slowly, straight from the papers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback


@dataclass
class Transition:
    """One step of one environment."""

    env: int
    observation: Any
    action: Any
    reward: float
    next_observation: Any
    terminated: bool
    truncated: bool


@dataclass
class Tape(BaseCallback):
    """Collects vector steps, each a list of transitions."""

    steps: list[list[Transition]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._last: Any = None

    def _on_rollout_start(self) -> None:
        self._last = np.array(self.model._last_obs)

    def _on_step(self) -> bool:
        entries = []
        for i, (reward, done, info) in enumerate(
            zip(self.locals["rewards"], self.locals["dones"], self.locals["infos"], strict=True)
        ):
            truncated = bool(done and info["TimeLimit.truncated"])
            following = info["terminal_observation"] if done else self.locals["new_obs"][i]
            entries.append(
                Transition(
                    i,
                    self._last[i],
                    self.locals["actions"][i],
                    float(reward),
                    following,
                    bool(done) and not truncated,
                    truncated,
                )
            )
        self.steps.append(entries)
        return True


def transcribed(
    steps: list[list[Transition]],
    features: Any,
    n_features: int,
    n_actions: int,
    behavior: Any,
    *,
    alpha_u: float,
    alpha_v: float,
    alpha_w: float,
    gamma: float,
    trace_decay: float,
    emphasis: float = 0.0,
    beta: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights u [n_features, n_actions], v and w after learning from a tape.

    Args:
        steps: the tape.
        features: observation -> dense vector.
        n_features, n_actions: sizes.
        behavior: (observation, pi) -> b(.|s).
        alpha_u, alpha_v, alpha_w, gamma, trace_decay, emphasis, beta: as in the papers.
    """
    u, v, w = np.zeros((n_features, n_actions)), np.zeros(n_features), np.zeros(n_features)
    n_envs = len(steps[0])
    e_u, e_v = np.zeros((n_envs, n_features, n_actions)), np.zeros((n_envs, n_features))
    rho_f = np.zeros(n_envs)
    for entries in steps:
        du, dv, dw = np.zeros_like(u), np.zeros_like(v), np.zeros_like(w)
        for t in entries:
            x, next_x = features(t.observation), features(t.next_observation)
            preferences = x @ u
            pi = np.exp(preferences - preferences.max())
            pi /= pi.sum()
            rho = pi[t.action] / behavior(t.observation, pi)[t.action]
            next_gamma = 0.0 if t.terminated else gamma
            delta = t.reward + next_gamma * (v @ next_x) - v @ x
            followon = 1.0 + gamma * rho_f[t.env]
            m = (1.0 - emphasis) + emphasis * followon
            rho_f[t.env] = rho * followon
            psi = np.outer(x, np.eye(n_actions)[t.action] - pi)
            e_v[t.env] = rho * (x + gamma * trace_decay * e_v[t.env])
            e_u[t.env] = rho * (m * psi + gamma * trace_decay * e_u[t.env])
            dv += alpha_v * (delta * e_v[t.env] - next_gamma * (1 - trace_decay) * (w @ e_v[t.env]) * next_x)
            dw += alpha_w * (delta * e_v[t.env] - (w @ x) * x - beta * w)
            du += alpha_u * delta * e_u[t.env]
            if t.terminated or t.truncated:
                e_u[t.env], e_v[t.env], rho_f[t.env] = 0.0, 0.0, 0.0
        u, v, w = u + du, v + dv, w + dw
    return u, v, w
