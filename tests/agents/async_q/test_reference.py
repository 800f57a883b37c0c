"""One worker against a plain torch program that replays the same transitions: the same parameters after 100 updates."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

import agents
from tests.agents.drop_in import each_value_method, small
from tests.agents.toys import RandomEnv

GAMMA, RATE, ALPHA, EPS, INTERVAL, N_STEPS = 0.9, 7e-3, 0.95, 0.05, 60, 5


class Tape(BaseCallback):
    """Everything that a replay needs, a segment at a time, and the parameters with which each segment was acted."""

    def _on_training_start(self) -> None:
        self.segments: list[list[dict[str, Any]]] = []
        self.parameters: list[np.ndarray] = []
        self.seen = self.model._last_obs.copy()

    def _on_rollout_start(self) -> None:
        self.segments.append([])
        # a segment is delivered before its gradient is applied
        self.parameters.append(vector_of(self.model.q_net.q_net))

    def _on_step(self) -> bool:
        found = self.locals
        self.segments[-1].append(
            {
                "before": self.seen,
                "actions": found["actions"].copy(),
                "rewards": found["rewards"].copy(),
                "dones": found["dones"].copy(),
                "truncated": [bool(info.get("TimeLimit.truncated")) for info in found["infos"]],
                "final": [info.get("terminal_observation") for info in found["infos"]],
                "after": found["new_obs"].copy(),
            }
        )
        self.seen = found["new_obs"].copy()
        return True


def vector_of(module: torch.nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()]).numpy()


def network(model: Any) -> torch.nn.Sequential:
    """The same layers, of its own memory, in float64: nothing of ours computes here."""
    return copy.deepcopy(model.q_net.q_net).double()


def as_tensor(observations: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(observations), dtype=torch.float64)


def replay(
    method: str, own: torch.nn.Module, segments: list[list[dict[str, Any]]], updates: int, max_grad_norm: float
) -> int:
    """Learn from a tape as the paper's pseudocode says; answers how often the target was copied."""
    target = copy.deepcopy(own)
    g = [torch.zeros_like(p) for p in own.parameters()]
    step = copies = 0
    for number, segment in enumerate(segments[:updates]):
        if step // INTERVAL > copies:
            copies = step // INTERVAL
            target.load_state_dict(own.state_dict())
        n_envs = len(segment[0]["rewards"])
        loss = torch.zeros((), dtype=torch.float64)
        for i in range(n_envs):
            ahead = None
            for t in reversed(range(len(segment))):
                now = segment[t]
                ended = bool(now["dones"][i])
                terminated = ended and not now["truncated"][i]
                seen_next = as_tensor(now["final"][i] if ended else now["after"][i])
                with torch.no_grad():
                    values = target(seen_next)
                    if method == "AsyncSarsa" and not ended:
                        following = segment[t + 1] if t + 1 < len(segment) else segments[number + 1][0]
                        bootstrap = values[int(following["actions"][i])]
                    elif method == "AsyncSarsa":
                        bootstrap = values[int(own(seen_next).argmax())]
                    else:
                        bootstrap = values.max()
                if method != "AsyncNStepQ" or ended or ahead is None:
                    ahead = torch.zeros((), dtype=torch.float64) if terminated else bootstrap
                ahead = float(now["rewards"][i]) + GAMMA * ahead
                q = own(as_tensor(now["before"][i]))[int(now["actions"][i])]
                loss = loss + (ahead - q) ** 2
        gradients = torch.autograd.grad(loss, list(own.parameters()))
        norm = torch.cat([x.reshape(-1) for x in gradients]).norm()
        with torch.no_grad():
            for parameter, average, gradient in zip(own.parameters(), g, gradients, strict=True):
                clipped = gradient * min(1.0, max_grad_norm / float(norm))
                average.mul_(ALPHA).add_((1 - ALPHA) * clipped**2)
                parameter.sub_(RATE * clipped / (average + EPS).sqrt())
        step += len(segment) * n_envs
    return copies


@each_value_method
@pytest.mark.parametrize(
    ("n_envs", "policy_kwargs", "max_grad_norm"),
    [
        (1, {"net_arch": [16]}, 40.0),
        (1, {"net_arch": [16], "activation_fn": torch.nn.LeakyReLU}, 1.0),  # the torch path
        (3, {"net_arch": [8, 8], "activation_fn": torch.nn.Tanh}, 2.0),
    ],
    ids=["numpy", "torch", "three environments"],
)
def test_a_plain_torch_program_reaches_the_same_parameters(
    cls: Any, n_envs: int, policy_kwargs: dict[str, Any], max_grad_norm: float
) -> None:
    def make() -> gym.Env:
        return RandomEnv(spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(3), terminate=0.05, truncate=0.05)

    # Sarsa's choice in a final observation is not on the tape; without exploration it is the greedy one
    explore = 0.0 if cls is agents.AsyncSarsa else 0.5
    model = small(
        cls,
        DummyVecEnv([make] * n_envs),
        n_steps=N_STEPS,
        gamma=GAMMA,
        learning_rate=RATE,
        rms_prop_alpha=ALPHA,
        rms_prop_eps=EPS,
        max_grad_norm=max_grad_norm,
        target_update_interval=INTERVAL,
        exploration_initial_eps=explore,
        exploration_final_eps=explore,
        policy_kwargs=policy_kwargs,
    )
    own = network(model)
    tape = Tape()
    model.learn(110 * N_STEPS * n_envs, callback=tape)
    assert any(any(step["truncated"]) for segment in tape.segments[:100] for step in segment)
    copies = replay(cls.__name__, own, tape.segments, 100, max_grad_norm)
    assert copies >= 4
    assert np.abs(tape.parameters[100] - tape.parameters[0]).max() > 0.03
    np.testing.assert_allclose(tape.parameters[100], vector_of(own), rtol=1e-4, atol=1e-5)
