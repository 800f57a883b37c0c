"""A3C with LSTM policies against a hand-run of the LSTM, one environment and one step at a time."""

import copy
import io
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy, RecurrentMultiInputActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

import agents
from agents.a3c.recurrent_learner import RecurrentLearner
from agents.asynchronous.segment import Segment
from tests.agents.a3c.learning import RECIPE, Rollout, make_policy, make_setting, random_envs
from tests.agents.toys import Counter, RandomEnv

VECTOR = spaces.Box(-2, 2, (3,), np.float32)
State = tuple[torch.Tensor, torch.Tensor]
SMALL = {"lstm_hidden_size": 6, "net_arch": [5]}
# the critic: with an LSTM of its own, with the actor's, with none
CRITICS: dict[str, dict[str, Any]] = {
    "own": {},
    "shared": {"shared_lstm": True, "enable_critic_lstm": False},
    "none": {"enable_critic_lstm": False},
    "two layers": {"n_lstm_layers": 2},
}
each_critic = pytest.mark.parametrize("critic", CRITICS)
WORKERS = pytest.mark.parametrize("n_workers", [1, 2])


def recurrent_policy(
    critic: str = "own", action_space: spaces.Space[Any] | None = None, space: spaces.Space[Any] = VECTOR
) -> RecurrentActorCriticPolicy:
    cls = RecurrentMultiInputActorCriticPolicy if isinstance(space, spaces.Dict) else RecurrentActorCriticPolicy
    policy = make_policy(space, action_space or spaces.Discrete(3), cls=cls, **SMALL, **CRITICS[critic])
    assert isinstance(policy, RecurrentActorCriticPolicy)
    with torch.no_grad():  # a strong memory: the value depends on what was seen before
        for lstm in filter(None, (policy.lstm_actor, policy.lstm_critic)):
            for parameter in lstm.parameters():
                parameter.mul_(3.0)
    return policy


class Hand:
    """Runs the policy's layers itself, environment by environment, and forgets where an episode begins."""

    def __init__(self, policy: RecurrentActorCriticPolicy, n_envs: int) -> None:
        self.policy = policy
        self.states = [self.forgotten() for _ in range(n_envs)]

    def forgotten(self) -> tuple[State, State]:
        layers, _, width = self.policy.lstm_hidden_state_shape
        zero = torch.zeros(layers, 1, width)
        return (zero, zero), (zero, zero)

    def step(self, observation: Any, states: tuple[State, State]) -> tuple[Any, torch.Tensor, tuple[State, State]]:
        """Distribution, value and following states of one observation."""
        policy = self.policy
        features = policy.extract_features(policy.obs_to_tensor(observation)[0])[None]  # (1 step, 1 sequence, width)
        actor, actor_state = policy.lstm_actor(features, states[0])
        if policy.lstm_critic is not None:
            critic, critic_state = policy.lstm_critic(features, states[1])
        elif policy.shared_lstm:
            critic, critic_state = actor.detach(), states[1]
        else:
            critic, critic_state = policy.critic(features), states[1]
        distribution = policy._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(actor[0]))
        value = policy.value_net(policy.mlp_extractor.forward_critic(critic[0]))
        return distribution, value.reshape(()), (actor_state, critic_state)

    def value(self, observation: Any, states: tuple[State, State]) -> float:
        with torch.no_grad():
            return float(self.step(observation, states)[1])

    def segment(self, segment: Segment, gamma: float, ent_coef: float, vf_coef: float) -> dict[str, Any]:
        """Values (length, n_envs), log probabilities and returns, and A3C's gradient, straight from Algorithm S3."""
        n, n_envs = segment.length, segment.n_envs
        finals = {(t, i): observation for t, i, observation in segment.final_observations}
        found = {name: np.zeros((n, n_envs)) for name in ("values", "log_probs", "returns")}
        loss = torch.zeros(())
        for i in range(n_envs):
            states = self.states[i]
            steps, after = [], []
            for t in range(n):
                if segment.episode_starts[t, i]:
                    states = self.forgotten()
                distribution, value, states = self.step(observation_of(segment, t, i), states)
                action = torch.as_tensor(segment.actions[t, i])[None]
                steps.append((distribution.log_prob(action).reshape(()), value, distribution.entropy().reshape(())))
                after.append(tuple((h.detach(), c.detach()) for h, c in states))
            following = self.value(observation_of(segment, n, i), after[-1])
            for t in reversed(range(n)):
                if segment.terminated[t, i]:
                    following = 0.0
                elif segment.truncated[t, i]:
                    following = self.value(finals[t, i], after[t])
                following = float(segment.rewards[t, i]) + gamma * following
                log_prob, value, entropy = steps[t]
                found["values"][t, i], found["log_probs"][t, i] = value.item(), log_prob.item()
                found["returns"][t, i] = following
                loss = loss - (following - value.item()) * log_prob - ent_coef * entropy
                loss = loss + vf_coef * (following - value) ** 2
            self.states[i] = self.forgotten() if segment.episode_starts[n, i] else after[-1]
        parameters = list(self.policy.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        parts = [
            torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, gradients, strict=True)
        ]
        return {**found, "gradient": torch.cat(parts).numpy()}


def observation_of(segment: Segment, t: int, i: int) -> Any:
    row = segment.observation_row(t)
    return {key: rows[i] for key, rows in row.items()} if isinstance(row, dict) else row[i]


@each_critic
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("actions", ["discrete", "box"])
def test_states_returns_and_gradient_are_those_of_a_hand_run_over_many_segments(
    critic: str, n_envs: int, actions: str
) -> None:
    action_space = spaces.Discrete(3) if actions == "discrete" else spaces.Box(-1, 1, (2,), np.float32)
    policy = recurrent_policy(critic, action_space)
    setting = make_setting(policy, 4, n_envs)
    learner = RECIPE.learner(setting)
    assert isinstance(learner, RecurrentLearner)
    hand, segment = Hand(policy, n_envs), setting.segment
    rollout = Rollout(learner, segment, random_envs(policy, n_envs, terminate=0.12, truncate=0.12))
    terminations = truncations = carried = 0
    for _ in range(12):
        rollout.fill(4)
        carried += int((~segment.episode_starts[0]).any())
        terminations += int(segment.terminated.sum())
        truncations += int(segment.truncated.sum())
        gradient = learner.gradient().copy()
        expected = hand.segment(segment, RECIPE.gamma, RECIPE.ent_coef, RECIPE.vf_coef)
        shown = learner.step_locals()
        np.testing.assert_allclose(shown["values"][:, :, 0], expected["values"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(shown["log_probs"], expected["log_probs"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(learner._returns, expected["returns"], rtol=1e-4, atol=1e-5)
        largest = np.abs(expected["gradient"]).max()
        np.testing.assert_allclose(gradient, expected["gradient"], rtol=1e-3, atol=1e-5 * largest)
    assert min(terminations, truncations, carried) > 1


def test_dicts_are_flattened_environment_by_environment() -> None:
    space = spaces.Dict({"v": VECTOR, "k": spaces.Discrete(3)})
    policy = recurrent_policy(space=space)
    setting = make_setting(policy, 4, 3)
    learner, hand = RecurrentLearner(RECIPE, setting), Hand(policy, 3)
    rollout = Rollout(learner, setting.segment, random_envs(policy, 3, terminate=0.1, truncate=0.2))
    for _ in range(4):
        rollout.fill(4)
        gradient = learner.gradient().copy()
        expected = hand.segment(setting.segment, RECIPE.gamma, RECIPE.ent_coef, RECIPE.vf_coef)["gradient"]
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_the_value_at_a_truncation_is_judged_with_the_episodes_own_memory() -> None:
    """Wrong twice over without: with an empty memory, or with that of the episode that follows."""
    policy = recurrent_policy()
    setting = make_setting(policy, 5, 2)
    learner, hand = RecurrentLearner(RECIPE, setting), Hand(policy, 2)
    segment = setting.segment
    rollout = Rollout(learner, segment, random_envs(policy, 2, terminate=0.0, truncate=0.4))
    forgetful = []
    for _ in range(6):
        rollout.fill(5)
        learner.gradient()
        expected = hand.segment(segment, RECIPE.gamma, 0.0, 0.0)
        np.testing.assert_allclose(learner._returns, expected["returns"], rtol=1e-4, atol=1e-5)
        for t, i, observation in segment.final_observations:
            with_empty = float(segment.rewards[t, i]) + RECIPE.gamma * hand.value(observation, hand.forgotten())
            forgetful.append(abs(with_empty - expected["returns"][t, i]))
    assert len(forgetful) > 5
    assert max(forgetful) > 0.05


def test_no_gradient_flows_into_the_segment_before() -> None:
    """The state in which a segment begins is a constant."""
    policy = recurrent_policy()
    setting = make_setting(policy, 3, 1)
    learner = RecurrentLearner(RECIPE, setting)
    rollout = Rollout(learner, setting.segment, random_envs(policy, 1, terminate=0.0, truncate=0.0))
    for _ in range(3):
        rollout.fill(3)
        learner.gradient()  # a graph that reached back would have been freed, and this would raise
        for state in (*learner._first_states.pi, *learner._first_states.vf):
            assert not state.requires_grad


class Recall(gym.Env):
    """Shows +1 or -1 once, then nothing; after two blank steps the action must name the sign. One episode: 3 steps."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.sign = int(self.np_random.integers(2))
        self.steps = 0
        return np.array([2 * self.sign - 1], np.float32), {}

    def step(self, action: int) -> Any:
        self.steps += 1
        ended = self.steps == 3
        reward = float(action == self.sign) if ended else 0.0
        return np.zeros(1, np.float32), reward, ended, False, {}


def test_what_was_seen_two_steps_ago_is_remembered_across_segments() -> None:
    """Segments of two steps end inside of episodes, so the state must be carried; without a memory the mean is .5."""
    model = agents.A3C(
        "MlpLstmPolicy",
        DummyVecEnv([Recall] * 4),
        n_workers=1,
        seed=1,
        n_steps=2,
        gamma=0.9,
        learning_rate=2e-2,
        shared_optimizer="adam",
        max_grad_norm=1.0,
        policy_kwargs={"lstm_hidden_size": 8, "net_arch": [], "enable_critic_lstm": False, "shared_lstm": True},
    )
    model.learn(5000)
    mean, _ = evaluate_policy(model, Recall(), n_eval_episodes=20, warn=False)
    assert mean > 0.9


IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
ALIASES: dict[str, tuple[spaces.Space[Any], dict[str, Any]]] = {
    "MlpLstmPolicy": (VECTOR, {}),
    "CnnLstmPolicy": (IMAGE, {"features_extractor_kwargs": {"features_dim": 8}}),
    "MultiInputLstmPolicy": (spaces.Dict({"v": VECTOR, "k": spaces.Discrete(3)}), {}),
}


@pytest.mark.parametrize("alias", ALIASES)
@WORKERS
@pytest.mark.parametrize("n_envs", [1, 2])
def test_every_recurrent_alias_learns_saves_and_predicts_with_its_state(
    alias: str, n_workers: int, n_envs: int
) -> None:
    space, arguments = ALIASES[alias]
    env = DummyVecEnv([lambda: RandomEnv(space, spaces.Discrete(3))] * n_envs)
    model = agents.A3C(alias, env, n_workers=n_workers, seed=0, policy_kwargs={**SMALL, **arguments})
    before = [p.detach().clone() for p in model.policy.parameters()]
    assert model.learn(24).num_timesteps == 24
    assert any((p != q).any() for p, q in zip(model.policy.parameters(), before, strict=True))
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())
    stream = io.BytesIO()
    model.save(stream)
    loaded = agents.A3C.load(stream)
    observation = space.sample()
    first = model.predict(observation, deterministic=True)
    again = loaded.predict(observation, deterministic=True)
    assert first[0] == again[0]
    for ours, theirs in zip(first[1], again[1], strict=True):
        assert ours.shape == (1, 1, 6)
        np.testing.assert_array_equal(ours, theirs)
    # the state goes on, and an episode's start forgets it
    _, second = model.predict(observation, state=first[1], deterministic=True)
    assert (second[0] != first[1][0]).any()
    _, anew = model.predict(observation, state=first[1], episode_start=np.array([True]), deterministic=True)
    np.testing.assert_allclose(anew[0], first[1][0], rtol=1e-5)
    evaluate_policy(model, model.get_env(), n_eval_episodes=2, warn=False)


@pytest.mark.parametrize("critic", ["shared", "none"])
def test_two_workers_learn_with_any_kind_of_critic(critic: str) -> None:
    env = RandomEnv(VECTOR, spaces.Box(-1, 1, (2,), np.float32))
    model = agents.A3C("MlpLstmPolicy", env, n_workers=2, policy_kwargs={**SMALL, **CRITICS[critic]})
    assert model.learn(60).num_timesteps == 60


@pytest.mark.parametrize("n_envs", [1, 2])
def test_one_worker_repeats_to_the_bit_for_a_seed(n_envs: int) -> None:
    found = []
    for seed in (0, 0, 1):
        env = DummyVecEnv([lambda: RandomEnv(VECTOR, spaces.Discrete(2))] * n_envs)
        model = agents.A3C("MlpLstmPolicy", env, n_workers=1, seed=seed, policy_kwargs=SMALL).learn(60)
        found.append(torch.cat([p.detach().flatten() for p in model.policy.parameters()]).numpy())
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


class WatchLocals(BaseCallback):
    """Shapes of what callbacks see."""

    def _on_step(self) -> bool:
        self.shapes = {name: self.locals[name].shape for name in ("values", "log_probs", "actions", "rewards", "dones")}
        return True


@WORKERS
def test_callbacks_see_what_they_see_of_other_policies(n_workers: int) -> None:
    watch = WatchLocals()
    env = DummyVecEnv([Counter] * 2)
    agents.A3C("MlpLstmPolicy", env, n_workers=n_workers, policy_kwargs=SMALL).learn(20, callback=watch)
    assert watch.shapes == {"values": (2, 1), "log_probs": (2,), "actions": (2,), "rewards": (2,), "dones": (2,)}


def test_a_policy_class_may_be_given_in_place_of_its_alias() -> None:
    model = agents.A3C(RecurrentActorCriticPolicy, "CartPole-v1", n_workers=1, policy_kwargs=SMALL)
    assert model.learn(10).num_timesteps == 10


class Watch(BaseCallback):
    """Values of all steps."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def _on_step(self) -> bool:
        self.values.extend(self.locals["values"].reshape(-1).tolist())
        return True


class Same(gym.Env):
    """Always the same; what differs from step to step is memory."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, **options: Any) -> Any:
        return np.ones(2, np.float32), {}

    def step(self, action: int) -> Any:
        return np.ones(2, np.float32), 0.0, False, False, {}


def without_learning() -> tuple[agents.A3C, Watch]:
    model = agents.A3C("MlpLstmPolicy", Same(), n_workers=1, seed=0, learning_rate=0.0, policy_kwargs=SMALL)
    return model, Watch()


def test_the_memory_goes_on_where_learning_goes_on_and_is_empty_after_a_reset() -> None:
    model, once = without_learning()
    model.learn(30, callback=once)
    assert len(set(once.values[:5])) == 5  # the state settles step by step
    model, twice = without_learning()
    model.learn(3, callback=twice)
    model.learn(27, callback=twice, reset_num_timesteps=False)
    np.testing.assert_allclose(twice.values, once.values, rtol=1e-5)
    anew = Watch()
    model.learn(10, callback=anew)
    np.testing.assert_allclose(anew.values, once.values[:10], rtol=1e-5)


def test_the_memory_is_not_saved_but_copied() -> None:
    model, once = without_learning()
    model.learn(10, callback=once)
    twin, later, original = copy.deepcopy(model), Watch(), Watch()
    twin.learn(5, callback=later, reset_num_timesteps=False)
    model.learn(5, callback=original, reset_num_timesteps=False)
    np.testing.assert_allclose(later.values, original.values, rtol=1e-6)
    stream = io.BytesIO()
    model.save(stream)
    loaded, fresh = agents.A3C.load(stream, env=Same()), Watch()
    loaded.learn(5, callback=fresh, reset_num_timesteps=False)
    np.testing.assert_allclose(fresh.values, once.values[:5], rtol=1e-5)
