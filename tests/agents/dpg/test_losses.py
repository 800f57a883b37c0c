"""The two losses in the logger: what they are means of, and that every update is in one entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.dpg import DPG
from agents.dpg.losses import RunningLosses
from tests.agents.dpg.toys import BoxProcess, scaled
from tests.agents.off_pac.tape import Tape

KEYS = ("train/actor_loss", "train/critic_loss")


def test_losses_are_means_since_the_last_entry() -> None:
    losses = RunningLosses()
    assert losses.pop() is None
    losses.add(2.0, 9.0)
    losses.add(4.0, 3.0, n=3)
    assert losses.pop() == (-1.5, 3.0)
    losses.add(1.0, 0.0)
    assert losses.pop() == (-1.0, 0.0)
    assert losses.pop() is None


class Entries(Logger):
    """Keeps what is logged, with the step it was logged at."""

    def __init__(self) -> None:
        super().__init__(folder=None, output_formats=[])
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def dump(self, step: int = 0) -> None:
        self.rows.append((step, dict(self.name_to_value)))
        super().dump(step)


FROZEN = {"learning_rate": 0.0, "critic_learning_rate": 0.0}


def frozen(policy: str, variant: str, n_envs: int) -> tuple[DPG, Entries]:
    """A model with weights other than 0 that does not change."""
    env = DummyVecEnv([lambda: BoxProcess("vector", dtype=np.float64) for _ in range(n_envs)])
    compatible = variant.startswith("copdac")
    rates = {**FROZEN, "value_learning_rate": 0.0} if compatible or policy == "LinearPolicy" else FROZEN
    if variant == "copdac-gq":
        rates["secondary_learning_rate"] = 0.0
    kwargs = {} if policy == "LinearPolicy" else {"net_arch": [5]}
    noise = NormalActionNoise(np.zeros(2), np.full(2, 0.5))
    model = DPG(policy, env, variant=variant, gamma=0.9, action_noise=noise, policy_kwargs=kwargs, seed=1, **rates)
    with th.no_grad():
        for part in model.policy.parameters():
            part.copy_(0.4 * th.randn_like(part))
    entries = Entries()
    model.set_logger(entries)
    return model, entries


def expected(model: DPG, steps: Any) -> tuple[float, float]:
    """-Q(s, mu(s)) and delta^2, averaged; delta by finite differences of the policy's own Q."""
    values, squares = [], []
    for transition in [part for entries in steps for part in entries]:
        s, following = (np.atleast_2d(part) for part in (transition.observation, transition.next_observation))
        action = scaled(transition.action)[None]
        discount = 0.0 if transition.terminated else 0.9
        next_value = value_at_mean(model, following) if discount else 0.0
        delta = transition.reward + discount * next_value - value(model, s, action)
        values.append(value_at_mean(model, s))
        squares.append(delta**2)
    return -float(np.mean(values)), float(np.mean(squares))


def value_at_mean(model: DPG, s: Any) -> float:
    with th.no_grad():
        return float(model.policy.predict_values(model.policy.obs_to_tensor(s)[0]))  # type: ignore[operator]


def value(model: DPG, s: Any, action: Any) -> float:
    """Q(s, a), from the weights."""
    policy: Any = model.policy
    tensor = policy.obs_to_tensor(s)[0]
    with th.no_grad():
        mean = policy(tensor).numpy().astype(np.float64)
    if model.is_linear:
        x, layout = s[0], policy.layout
        table = policy.table()
        slope, deviation = x @ table[:, layout.critic], (action - mean)[0]
        if not layout.compatible:
            a = action[0]
            return float(slope @ [a[0], a[1], a[0] * a[0], a[0] * a[1], a[1] * a[1]] + x @ table[:, layout.value])
        return float(slope @ deviation + x @ table[:, layout.value])
    if not policy.layout.compatible:
        with th.no_grad():
            return float(policy.critic.q1_forward(tensor, th.as_tensor(action, dtype=th.float32)))
    output = policy.actor(tensor)[0]
    parameters = list(policy.actor.parameters())
    rows = [th.autograd.grad(part, parameters, retain_graph=True) for part in output]
    slope = [
        sum(float((gradient * weight).detach().sum()) for gradient, weight in zip(row, policy.w, strict=True))
        for row in rows
    ]
    return float(np.dot(slope, (action - mean)[0])) + value_at_mean(model, s)


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("variant", ["copdac-q", "copdac-gq", "opdac"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_losses_are_the_squared_td_error_and_minus_the_value_of_the_mean(
    policy: str, variant: str, n_envs: int
) -> None:
    model, entries = frozen(policy, variant, n_envs)
    tape = Tape()
    model.learn(60 * n_envs, callback=tape, log_interval=3 * n_envs)
    assert len(entries.rows) >= 2
    first = 0
    for step, row in entries.rows:
        # The last entry of a vector step has what the others of the same step left.
        if step == first * n_envs:
            continue
        found = [row[key] for key in KEYS]
        np.testing.assert_allclose(found, expected(model, tape.steps[first : step // n_envs]), rtol=1e-3)
        first = step // n_envs


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize(("n_envs", "callback"), [(1, None), (1, lambda *_: True), (3, None)])
def test_updates_are_counted_in_transitions(policy: str, n_envs: int, callback: Any) -> None:
    model, entries = frozen(policy, "copdac-q", n_envs)
    model.learn(60, callback=callback, log_interval=1)
    assert len(entries.rows) > 5
    # Every transition is learned from, so that the count is that of the environments' steps.
    assert all(row["train/n_updates"] == step for step, row in entries.rows)


@pytest.mark.parametrize("policy", ["LinearPolicy", "TileCodingPolicy"])
@pytest.mark.parametrize("variant", ["copdac-q", "on-policy"])
def test_the_unwatched_loop_logs_what_the_watched_one_logs(policy: str, variant: str) -> None:
    found = []
    for callback in (None, lambda *_: True):
        entries = Entries()
        model = DPG(policy, DummyVecEnv([lambda: BoxProcess("square")]), variant=variant, seed=0)
        model.set_logger(entries)
        model.learn(100, callback=callback)
        found.append([(step, [row[key] for key in KEYS]) for step, row in entries.rows])
    assert len(found[0]) >= 3
    assert found[0] == found[1]


def test_a_model_that_was_loaded_logs_its_losses_from_the_beginning(tmp_path: Any) -> None:
    env = DummyVecEnv([lambda: BoxProcess("vector")])
    DPG("LinearPolicy", env, seed=0).learn(30, log_interval=None).save(tmp_path / "model")
    model = DPG.load(tmp_path / "model", env=env)
    assert model.losses.pop() is None
    model.learn(10, log_interval=None)
    losses = model.losses.pop()
    assert losses is not None
    assert losses.critic > 0.0


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("variant", ["copdac-q", "copdac-gq", "opdac", "on-policy"])
def test_only_step_sizes_that_something_moves_by_are_logged(variant, policy):
    model, entries = frozen(policy, variant, 1)
    model.learn(60, log_interval=1)
    logged = {key.removeprefix("train/") for key in entries.rows[-1][1] if key.endswith("learning_rate")}
    needed = {"learning_rate", "critic_learning_rate"}
    if variant.startswith("copdac") or policy == "LinearPolicy":
        needed.add("value_learning_rate")
    if variant == "copdac-gq":
        needed.add("secondary_learning_rate")
    assert logged == needed
