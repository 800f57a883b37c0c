"""Sarsa's a': the behavior's action at s', chosen once, learned from, and executed next where the episode goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.dpg import DPG
from tests.agents.dpg.toys import HIGH, LOW, BoxProcess, scaled
from tests.agents.dpg.transcription import transcribed
from tests.agents.off_pac.tape import Tape

ALPHAS = {"alpha_theta": 0.1, "alpha_w": 0.1, "alpha_v": 0.1}


def at_random(observations: Any) -> np.ndarray:
    """A behavior that never repeats itself, in environment units."""
    return np.random.uniform(LOW, HIGH, size=(len(observations), 2))  # noqa: NPY002  (seeded by the model)


def sarsa(policy: str = "LinearPolicy", n_envs: int = 1, cap: int = 7, **arguments: Any) -> tuple[DPG, DummyVecEnv]:
    """A model, and environments that keep to the last digit what they were given."""
    env = DummyVecEnv([lambda: BoxProcess("vector", cap=cap, dtype=np.float64)] * n_envs)
    kwargs = {} if policy == "LinearPolicy" else {"net_arch": [4]}
    if "behavior_policy" not in arguments:
        arguments.setdefault("action_noise", NormalActionNoise(np.zeros(2), np.full(2, 0.4)))
    sizes = {"learning_rate": 0.1, "critic_learning_rate": 0.1} if policy == "LinearPolicy" else {}
    given = {"gamma": 0.9, "seed": 0, "policy_kwargs": kwargs, **sizes, **arguments}
    return DPG(policy, env, variant="on-policy", **given), env


BEHAVIORS: list[dict[str, Any]] = [{}, {"behavior_policy": at_random}]
each_behavior = pytest.mark.parametrize("behavior", BEHAVIORS, ids=["noise", "callable"])
each_policy = pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])


@each_behavior
@each_policy
@pytest.mark.parametrize(("n_envs", "callback"), [(1, None), (1, lambda *_: True), (3, None)])
def test_what_was_chosen_in_one_call_of_learn_is_executed_by_the_next(
    behavior: dict[str, Any], policy: str, n_envs: int, callback: Any
) -> None:
    """Every step is a call of its own, so that each a' has to outlive one."""
    model, env = sarsa(policy, n_envs, **behavior)
    n_compared = n_ended = 0
    for _ in range(40):
        chosen, ended = model.chosen_actions, model._last_episode_starts
        model.learn(n_envs, callback=callback, reset_num_timesteps=False)
        if chosen is None:
            continue
        received = [env.envs[i].unwrapped.received[-1] for i in range(n_envs)]  # type: ignore[attr-defined]
        np.testing.assert_allclose(scaled(received)[~ended], chosen[~ended], atol=1e-12)  # type: ignore[operator]
        n_compared += int(np.sum(~ended))  # type: ignore[operator]
        n_ended += int(np.sum(ended))
    assert n_compared > 20 * n_envs
    assert n_ended > 3 * n_envs


class Followed(BaseCallback):
    """For each step what was chosen before, what was executed, and where an episode ended between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._before: Any = None

    def _on_step(self) -> bool:
        if self._before is not None:
            self.pairs.append((*self._before, self.locals["buffer_actions"].copy()))
        return True

    def _on_rollout_end(self) -> None:
        # The first moment at which a' is known.
        self._before = self.locals["dones"].copy(), self.model.chosen_actions.copy()  # type: ignore[attr-defined]


@each_behavior
@each_policy
def test_an_environment_that_goes_on_executes_its_own_choice_also_where_another_begins_anew(
    behavior: dict[str, Any], policy: str
) -> None:
    model, _ = sarsa(policy, n_envs=3, **behavior)
    followed = Followed()
    model.learn(180, callback=followed)
    n_mixed = 0
    for ended, chosen, executed in followed.pairs:
        np.testing.assert_array_equal(executed[~ended], chosen[~ended])
        n_mixed += int(ended.any() and not ended.all())
    assert len(followed.pairs) == 59
    assert n_mixed > 10


def test_a_count_that_begins_anew_begins_with_another_action() -> None:
    """``learn`` resets the environment then: what was chosen belongs to an observation that is gone."""
    model, env = sarsa(behavior_policy=at_random)
    model.learn(1)
    chosen = model.chosen_actions
    assert chosen is not None
    model.learn(1)
    received = env.envs[0].unwrapped.received  # type: ignore[attr-defined]
    assert (np.abs(scaled(received[-1]) - chosen[0]) > 1e-6).all()


@each_behavior
@pytest.mark.parametrize("n_envs", [1, 3])
def test_sarsa_learns_from_the_action_that_is_executed_next(behavior: dict[str, Any], n_envs: int) -> None:
    """Whatever b draws. Without time limits: of a' behind one of those, nothing is ever seen."""
    model, _ = sarsa(n_envs=n_envs, cap=10**6, value_learning_rate=0.1, **behavior)
    tape = Tape()
    model.learn(150 * n_envs, callback=tape)
    following = {
        id(t): scaled(next_t.action)
        for entries, next_entries in zip(tape.steps, tape.steps[1:], strict=False)
        for t, next_t in zip(entries, next_entries, strict=True)
    }
    # What the last step learned from is still to come.
    assert model.chosen_actions is not None
    last = zip(tape.steps[-1], model.chosen_actions, strict=True)
    following |= {id(t): np.zeros(2) if t.terminated else chosen for t, chosen in last}
    expected = transcribed(tape.steps, np.asarray, 3, "on-policy", next_action=lambda t, _: following[id(t)], **ALPHAS)
    table, layout = model.policy.table(), model.policy.layout  # type: ignore[operator]
    for name, columns in {"theta": layout.actor, "v": layout.value, "w": layout.critic}.items():  # type: ignore[union-attr]
        np.testing.assert_allclose(table[:, columns], expected[name], rtol=1e-6, atol=1e-8, err_msg=name)
    assert sum(t.terminated for entries in tape.steps for t in entries) > 10 * n_envs
