"""What each method's target is made of: whose values, of which action, in which observation."""

import copy
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.dqn.policies import DQNPolicy, MultiInputPolicy

from agents.async_q.learner import ValueLearner
from agents.asynchronous.learner import Setting
from tests.agents.async_q.valuing import (
    METHODS,
    make_policy,
    make_recipe,
    make_setting,
    observation_of,
    rollout_of,
    value_of,
)

VECTOR = spaces.Box(-2, 2, (3,), np.float32)
KINDS: dict[str, tuple[type[DQNPolicy], spaces.Space[Any]]] = {
    "numpy": (DQNPolicy, VECTOR),
    "torch": (MultiInputPolicy, spaces.Dict({"v": VECTOR})),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def make(method: Any, kind: str, n_steps: int, n_envs: int, epsilon: float = 0.5) -> tuple[ValueLearner, Setting]:
    cls, space = KINDS[kind]
    setting = make_setting(make_policy(space, cls=cls), n_steps, n_envs)
    return ValueLearner(make_recipe(method, epsilon), setting), setting


def target_values(setting: Setting, observation: Any) -> np.ndarray:
    """Q(s, .; theta-)."""
    return value_of(setting.policy, observation, target=True).detach().numpy()


def own_values(setting: Setting, observation: Any) -> np.ndarray:
    """Q(s, .; theta')."""
    return value_of(setting.policy, observation).detach().numpy()


def finals_of(setting: Setting) -> dict[tuple[int, int], Any]:
    return {(t, i): observation for t, i, observation in setting.segment.final_observations}


@each_kind
@pytest.mark.parametrize("n_envs", [1, 3])
def test_one_step_q_bootstraps_with_the_target_networks_best_action(kind: str, n_envs: int) -> None:
    learner, setting = make("one-step Q", kind, 6, n_envs)
    rollout, segment = rollout_of(learner, setting, terminate=0.2, truncate=0.2), setting.segment
    kinds_of_end = set()
    for _ in range(12):
        rollout.fill(6)
        found, finals = learner._targets(), finals_of(setting)
        for t in range(segment.length):
            for i in range(n_envs):
                kinds_of_end.add((bool(segment.terminated[t, i]), bool(segment.truncated[t, i])))
                following = finals[t, i] if (t, i) in finals else observation_of(segment, t + 1, i)
                best = 0.0 if segment.terminated[t, i] else target_values(setting, following).max()
                assert found[t, i] == pytest.approx(segment.rewards[t, i] + 0.1 * best, rel=1e-4, abs=1e-5)
    assert len(kinds_of_end) == 3  # going on, terminated, truncated


@each_kind
@pytest.mark.parametrize("n_envs", [1, 3])
def test_n_step_q_returns_end_in_the_target_networks_best_action(kind: str, n_envs: int) -> None:
    learner, setting = make("n-step Q", kind, 6, n_envs)
    rollout, segment = rollout_of(learner, setting, terminate=0.2, truncate=0.2), setting.segment
    for _ in range(12):
        rollout.fill(6)
        found, finals = learner._targets(), finals_of(setting)
        for i in range(n_envs):
            following = target_values(setting, observation_of(segment, segment.length, i)).max()
            for t in reversed(range(segment.length)):
                if segment.terminated[t, i]:
                    following = 0.0
                elif segment.truncated[t, i]:
                    following = target_values(setting, finals[t, i]).max()
                following = segment.rewards[t, i] + 0.1 * following
                assert found[t, i] == pytest.approx(following, rel=1e-4, abs=1e-5)


@each_kind
@pytest.mark.parametrize("n_envs", [1, 3])
def test_sarsas_target_uses_exactly_the_action_that_is_taken_next(kind: str, n_envs: int) -> None:
    """Within a segment, and across its end: the action that the last target used is the next segment's first."""
    learner, setting = make("one-step Sarsa", kind, 4, n_envs)
    rollout, segment = rollout_of(learner, setting, terminate=0.15, truncate=0.15), setting.segment
    owed: list[tuple[int, float, float, Any]] = []  # environment, reward, target, what was seen next
    paid = 0
    for _ in range(30):
        rollout.fill(4)
        for i, reward, target, observation in owed:
            value = target_values(setting, observation)[int(segment.actions[0, i])]
            assert target == pytest.approx(reward + 0.1 * value, rel=1e-4, abs=1e-5)
            paid += 1
        owed = []
        found, n = learner._targets(), segment.length
        for i in range(n_envs):
            for t in range(n):
                if segment.truncated[t, i]:
                    continue  # see the next test
                reward = float(segment.rewards[t, i])
                if segment.terminated[t, i]:
                    assert found[t, i] == pytest.approx(reward)
                    continue
                following = observation_of(segment, t + 1, i)
                if t + 1 < n:
                    value = target_values(setting, following)[int(segment.actions[t + 1, i])]
                    assert found[t, i] == pytest.approx(reward + 0.1 * value, rel=1e-4, abs=1e-5)
                else:
                    owed.append((i, reward, float(found[t, i]), copy.deepcopy(following)))
    assert paid > 5


@each_kind
@pytest.mark.parametrize("n_envs", [1, 3])
def test_sarsas_target_at_truncation_is_what_the_policy_would_have_done_there(kind: str, n_envs: int) -> None:
    """Greedy, so that there is one such action; valued by the target network, in the observation before the reset."""
    learner, setting = make("one-step Sarsa", kind, 5, n_envs, epsilon=0.0)
    rollout, segment = rollout_of(learner, setting, terminate=0.0, truncate=0.3), setting.segment
    truncations = different = 0
    for _ in range(15):
        rollout.fill(5)
        found = learner._targets()
        for t, i, observation in segment.final_observations:
            action = int(own_values(setting, observation).argmax())
            value = target_values(setting, observation)
            assert found[t, i] == pytest.approx(segment.rewards[t, i] + 0.1 * value[action], rel=1e-4, abs=1e-5)
            truncations += 1
            different += int(action != value.argmax())
    assert truncations > 5
    assert different > 0  # so that the target network's own best action would not have passed


def test_sarsas_action_after_an_episodes_end_is_for_the_new_episode() -> None:
    learner, setting = make("one-step Sarsa", "numpy", 3, 1, epsilon=0.0)
    rollout, segment = rollout_of(learner, setting, terminate=1.0, truncate=0.0), setting.segment
    for _ in range(5):
        rollout.fill(3)
        assert segment.length == 1
        learner.gradient()
        expected = int(own_values(setting, observation_of(segment, 1, 0)).argmax())
        rollout.fill(3)
        assert segment.actions[0, 0] == expected
        learner.gradient()


@pytest.mark.parametrize("method", METHODS)
@each_kind
def test_targets_come_from_the_target_network_alone(method: Any, kind: str) -> None:
    """With the target network at 0, next values are 0 whatever the worker's own network says, and the reverse."""
    learner, setting = make(method, kind, 4, 2)
    setting.arrays["target"][:] = 0.0
    rollout_of(learner, setting, terminate=0.0, truncate=0.2).fill(4)
    n, segment = setting.segment.length, setting.segment
    if method == "n-step Q":
        expected = np.zeros((n, 2))
        for i in range(2):
            following = 0.0
            for t in reversed(range(n)):
                following = segment.rewards[t, i] + 0.1 * following * (not segment.truncated[t, i])
                expected[t, i] = following
    else:
        expected = segment.rewards[:n].astype(float)
    np.testing.assert_allclose(learner._targets(), expected, rtol=1e-6)


@each_kind
def test_the_target_network_lives_in_the_shared_array(kind: str) -> None:
    _, setting = make("one-step Q", kind, 4, 1)
    probe = setting.policy.observation_space.sample()
    before = target_values(setting, probe)
    setting.arrays["target"][:] = setting.parameters  # as another worker would
    np.testing.assert_allclose(target_values(setting, probe), own_values(setting, probe), rtol=1e-6)
    assert not np.allclose(before, target_values(setting, probe))


@each_kind
def test_the_target_is_copied_when_a_multiple_of_the_interval_is_reached_and_only_then(kind: str) -> None:
    cls, space = KINDS[kind]
    setting = make_setting(make_policy(space, cls=cls), 5, 1)
    learner = ValueLearner(make_recipe(target_update_interval=100), setting)
    target, own = setting.arrays["target"], setting.parameters
    copied_at = []
    for step in [0, 5, 60, 98, 103, 108, 199, 200, 204, 399, 405]:
        own += 1.0
        learner.begin(step, 0.0)
        if (target == own).all():
            copied_at.append(step)
    # once a multiple, at the first segment that begins there or later; nothing at 0: it begins as a copy
    assert copied_at == [103, 200, 399, 405]


def test_the_copy_that_one_worker_made_is_not_made_again_by_another() -> None:
    setting = make_setting(make_policy(VECTOR), 5, 1)
    first = ValueLearner(make_recipe(target_update_interval=100), setting)
    second = ValueLearner(make_recipe(target_update_interval=100), setting)
    first.begin(101, 0.0)
    copied = setting.arrays["target"].copy()
    setting.parameters[:] += 1.0
    second.begin(104, 0.0)
    np.testing.assert_array_equal(setting.arrays["target"], copied)
    second.begin(200, 0.0)
    np.testing.assert_array_equal(setting.arrays["target"], setting.parameters)
