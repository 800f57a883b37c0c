"""Behavior policies: each kind's densities, what is refused, what the callables are given."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.off_pac import OffPAC
from agents.off_pac.behavior import make_behavior
from tests.agents.off_pac.tape import Tape, transcribed
from tests.agents.off_pac.toys import N_ACTIONS, N_STATES, Reach, SmallProcess

DISCRETE = spaces.Discrete(3)


def small():
    """Arguments of a small helper; a new dictionary each time, as SB3 writes into it."""
    return {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 0}


def box_env():
    return Reach()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("random", ValueError, '"uniform" and "target"'),
        (0.0, ValueError, r"\(0, 1\].*\"target\""),
        (1.2, ValueError, r"\(0, 1\]"),
        (float("nan"), ValueError, r"\(0, 1\]"),
        (True, TypeError, "bool"),
        (None, TypeError, "NoneType"),
    ],
)
def test_useless_behavior_policies_are_refused_at_once(given, error, message):
    with pytest.raises(error, match=message):
        OffPAC("LinearPolicy", SmallProcess(), behavior_policy=given)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.5, 0.0], [0.3, 0.3, 0.4]], "action 2 probability 0 for the observation at index 0"),
        ([[0.3, 0.3, 0.4], [0.3, 0.3, 0.3]], "index 1: they add up to 0.9"),
        ([[0.3, 0.3, 0.4], [np.nan, 0.5, 0.5]], "index 1: NaN"),
        ([[0.3, 0.3, 0.4]], r"shape \(1, 3\).*\(2, 3\)"),
        ([[0.5, 0.5], [0.5, 0.5]], r"shape \(2, 2\).*\(2, 3\)"),
    ],
)
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_bad_probabilities_stop_the_run_and_name_the_observation(policy, rows, message):
    env = DummyVecEnv([SmallProcess, SmallProcess])
    model = OffPAC(policy, env, behavior_policy=lambda observations: rows)
    with pytest.raises(ValueError, match=message):
        model.learn(20)


@pytest.mark.parametrize(
    "given",
    [lambda o: th.distributions.Categorical(logits=th.zeros(len(o), 3)), lambda o: None, lambda o: [[0.5], 0.5]],
)
def test_what_is_no_array_of_probabilities_is_refused_in_words(given):
    with pytest.raises((TypeError, ValueError), match=r"The behavior policy returned .*\(1, 3\)"):
        OffPAC("LinearPolicy", SmallProcess(), behavior_policy=given).learn(5)


def test_callables_may_return_tensors():
    OffPAC("LinearPolicy", SmallProcess(), behavior_policy=lambda o: th.full((len(o), 3), 1 / 3)).learn(10)


def test_callables_get_the_environments_own_observations_batch_first():
    seen = []

    def watch(observations):
        seen.append(np.array(observations))
        return np.full((len(observations), 3), 1 / 3)

    env = VecNormalize(DummyVecEnv([lambda: SmallProcess("vector")] * 1 + [lambda: SmallProcess("vector")]))
    OffPAC("LinearPolicy", env, behavior_policy=watch).learn(40)
    points = SmallProcess("vector").points
    for batch in seen:
        assert batch.shape == (2, 3)
        assert all(np.isclose(points, row).all(axis=1).any() for row in batch)


class Camera(gym.Env):
    """Images with the channel last, as environments have them."""

    observation_space = spaces.Box(0, 255, (36, 36, 3), dtype=np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def test_callables_see_images_as_the_environment_gives_them():
    shapes = set()

    def watch(observations):
        shapes.add(observations.shape)
        return np.full((len(observations), 3), 1 / 3)

    OffPAC("CnnPolicy", Camera(), behavior_policy=watch, buffer_size=50, learning_starts=1000).learn(5)
    assert shapes == {(1, 36, 36, 3)}


def test_an_actor_critic_model_acts_with_its_own_probabilities():
    helper = A2C("MlpPolicy", SmallProcess(), **small())

    def probabilities(observation, pi):
        with th.no_grad():
            tensors = helper.policy.obs_to_tensor(np.array([observation]))[0]
            return helper.policy.get_distribution(tensors).distribution.probs.numpy()[0].astype(np.float64)

    for given in (helper, helper.policy):
        model = OffPAC("LinearPolicy", SmallProcess(), behavior_policy=given, seed=0)
        tape = Tape()
        model.learn(120, callback=tape)
        u, v, w = transcribed(
            tape.steps,
            lambda s: np.eye(N_STATES)[int(s)],
            N_STATES,
            N_ACTIONS,
            probabilities,
            alpha_u=0.1,
            alpha_v=0.1,
            alpha_w=1e-4,
            gamma=0.99,
            trace_decay=0.0,
        )
        np.testing.assert_allclose(model.policy.table(), np.column_stack([u, v, w]), rtol=1e-5, atol=1e-9)


def test_a_dqn_acts_epsilon_greedily_at_its_exploration_rate():
    helper = DQN("MlpPolicy", SmallProcess(), **small())
    helper.exploration_rate = 0.3
    behavior = make_behavior(helper, DISCRETE)
    rows = behavior.probabilities(np.arange(4), np.full((4, 3), 1 / 3))
    greedy, _ = helper.policy.predict(np.arange(4))
    expected = np.full((4, 3), 0.1)
    expected[np.arange(4), greedy] += 0.7
    np.testing.assert_allclose(rows, expected)


def test_a_greedy_dqn_lacks_support():
    helper = DQN("MlpPolicy", SmallProcess(), **small())
    helper.exploration_rate = 0.0
    message = "raise its exploration_rate, now 0.*probability 0 for the observation at index 0"
    with pytest.raises(ValueError, match=message):
        OffPAC("LinearPolicy", SmallProcess(), behavior_policy=helper).learn(10)


def test_policies_without_a_density_are_refused():
    with pytest.raises(ValueError, match="deterministic"):
        make_behavior(DQN("MlpPolicy", SmallProcess(), **small()).policy, DISCRETE)
    env = gym.make("Pendulum-v1")
    for cls in (TD3, DDPG):
        model = cls("MlpPolicy", env, **small())
        for given in (model, model.policy):
            with pytest.raises(ValueError, match="no density"):
                OffPAC("LinearPolicy", env, behavior_policy=given)


def test_recurrent_policies_are_refused():
    model = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu", policy_kwargs={"lstm_hidden_size": 4})
    with pytest.raises(ValueError, match="recurrent"):
        make_behavior(model, spaces.Discrete(2))


def test_models_for_other_actions_are_refused():
    with pytest.raises(ValueError, match="acts in"):
        OffPAC("LinearPolicy", SmallProcess(), behavior_policy=A2C("MlpPolicy", "CartPole-v1", **small()))


def test_a_model_sees_observations_as_its_own_training_normalized_them():
    env = VecNormalize(DummyVecEnv([lambda: SmallProcess("vector")]))
    helper = A2C("MlpPolicy", env, n_steps=8, **small())
    helper.learn(64)
    behavior = make_behavior(helper, DISCRETE)
    raw = SmallProcess("vector").points[:2]
    with th.no_grad():
        tensors = helper.policy.obs_to_tensor(env.normalize_obs(raw))[0]
        expected = helper.policy.get_distribution(tensors).distribution.probs.numpy()
    np.testing.assert_allclose(behavior.probabilities(raw, np.full((2, 3), 1 / 3)), expected)


class FixedTarget:
    """A target policy of known shape: standard normal in every entry."""

    def __init__(self, n, dimension=1):
        self.n, self.dimension = n, dimension

    def sample(self, generator):
        return generator.standard_normal((self.n, self.dimension))

    def log_density(self, actions):
        return -0.5 * (actions**2 + np.log(2 * np.pi)).sum(axis=1)


def test_uniform_boxes_have_the_density_of_their_volume():
    space = spaces.Box(np.array([-2.0, 0.0]), np.array([6.0, 0.5]), dtype=np.float64)
    actions, log_density = make_behavior("uniform", space).draw(None, FixedTarget(500, 2), np.random.default_rng(0))
    np.testing.assert_allclose(log_density, -np.log(8 * 0.5))
    assert actions.shape == (500, 2)
    assert all(space.contains(action) for action in actions)
    np.testing.assert_allclose(actions.mean(axis=0), [2.0, 0.25], atol=0.3)


def test_box_mixtures_have_the_density_of_the_whole_mixture():
    space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float64)
    actions, log_density = make_behavior(0.25, space).draw(None, FixedTarget(4000), np.random.default_rng(0))
    normal = np.exp(-0.5 * actions[:, 0] ** 2) / np.sqrt(2 * np.pi)
    inside = np.abs(actions[:, 0]) <= 1
    np.testing.assert_allclose(np.exp(log_density), 0.25 * inside * 0.5 + 0.75 * normal, rtol=1e-10)
    # P(|a| > 1) = .75 * .3173
    assert np.mean(~inside) == pytest.approx(0.238, abs=0.03)


def test_box_target_gives_ratios_of_exactly_one():
    model = OffPAC("LinearPolicy", box_env(), behavior_policy="target", seed=0)
    model.learn(50, log_interval=None)
    assert (model.ratio_statistics.mean, model.ratio_statistics.effective_sample_size) == (1.0, 1.0)


@pytest.mark.parametrize(
    "distribution",
    [
        lambda n: th.distributions.Normal(th.full((n, 2), 1.0), th.full((n, 2), 0.5)),
        lambda n: th.distributions.Independent(th.distributions.Normal(th.full((n, 2), 1.0), th.full((n, 2), 0.5)), 1),
        lambda n: th.distributions.MultivariateNormal(th.full((n, 2), 1.0), 0.25 * th.eye(2)),
    ],
)
def test_densities_per_dimension_are_summed_and_joint_ones_taken_as_they_are(distribution):
    behavior = make_behavior(lambda o: distribution(len(o)), spaces.Box(-2.0, 6.0, (2,)))
    actions, log_density = behavior.draw(np.zeros((5, 1)), FixedTarget(5, 2), np.random.default_rng(0))
    expected = (-0.5 * ((actions - 1) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))).sum(axis=1)
    np.testing.assert_allclose(log_density, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda o: np.zeros((len(o), 1)), TypeError, "torch.distributions.Distribution"),
        # it was taken: its probabilities stood where densities belong
        (lambda o: th.distributions.Categorical(th.ones(len(o), 2)), TypeError, "need a density"),
        (lambda o: th.distributions.Normal(th.zeros(len(o), 3), 1.0), ValueError, r"shape \(1, 3\).*\(1, 1\)"),
        (
            lambda o: th.distributions.Normal(th.full((len(o), 1), th.nan), 1.0, validate_args=False),
            ValueError,
            "index 0, but both must be finite",
        ),
    ],
)
def test_bad_box_behaviors_stop_the_run(given, error, message):
    with pytest.raises(error, match=message):
        OffPAC("LinearPolicy", box_env(), behavior_policy=given).learn(5)


def test_the_ratio_belongs_to_the_action_before_clipping_and_the_environment_gets_the_clipped_one():
    env = Reach()
    model = OffPAC(
        "LinearPolicy",
        env,
        behavior_policy=lambda o: th.distributions.Normal(th.full((len(o), 1), 6.0), th.full((len(o), 1), 1.0)),
        critic_learning_rate=0.0,
        learning_rate=0.0,
        seed=0,
    )
    drawn, ratios = [], []

    def watch(locals_, _):
        drawn.append(locals_["actions"].item())
        ratios.append(locals_["ratios"][0])
        return True

    model.learn(60, callback=watch)
    drawn, received = np.array(drawn), np.array(env.received).ravel()
    assert (drawn > 6.0).any()
    np.testing.assert_allclose(received, np.clip(drawn, -2.0, 6.0), rtol=1e-6)
    # The untrained policy: mean 2, standard deviation 4 exp(-1).
    target = th.distributions.Normal(th.tensor(2.0), th.tensor(4.0 * np.exp(-1.0)))
    behavior = th.distributions.Normal(th.tensor(6.0), th.tensor(1.0))
    expected = (target.log_prob(th.tensor(drawn)) - behavior.log_prob(th.tensor(drawn))).exp()
    np.testing.assert_allclose(ratios, expected, rtol=1e-5)


@pytest.mark.parametrize("cls", [SAC, TQC])
def test_squashed_policies_have_their_density_converted_to_environment_units(cls):
    helper = cls("MlpPolicy", box_env(), **small())
    behavior = make_behavior(helper, box_env().action_space)
    n = 4000
    observations = np.ones((n, 1), dtype=np.float32)
    actions, log_density = behavior.draw(observations, FixedTarget(n), np.random.default_rng(0))
    assert actions.min() >= -2.0
    assert actions.max() <= 6.0
    assert actions.max() - actions.min() > 4.0
    # A density integrates to 1: the mean of 1 / density over draws is the length of the support, here 8.
    assert np.mean(np.exp(-log_density)) == pytest.approx(8.0, rel=0.15)


def test_gaussian_models_are_used_unclipped():
    helper = PPO("MlpPolicy", box_env(), n_steps=8, batch_size=8, **small())
    actions, log_density = make_behavior(helper, box_env().action_space).draw(
        np.ones((200, 1), dtype=np.float32), FixedTarget(200), np.random.default_rng(0)
    )
    with th.no_grad():
        distribution = helper.policy.get_distribution(th.ones(200, 1))
        expected = distribution.log_prob(th.as_tensor(actions, dtype=th.float32))
    np.testing.assert_allclose(log_density, expected, rtol=1e-4)
    assert actions.min() < -2.0


@pytest.mark.parametrize("cls", [PPO, SAC])
def test_state_dependent_exploration_is_drawn_anew_in_every_step(cls):
    kwargs = {"n_steps": 8, "batch_size": 8} if cls is PPO else {}
    behavior = make_behavior(cls("MlpPolicy", box_env(), use_sde=True, **small(), **kwargs), box_env().action_space)
    observation = np.ones((1, 1), dtype=np.float32)
    drawn = [float(behavior.draw(observation, FixedTarget(1), np.random.default_rng(0))[0][0, 0]) for _ in range(5)]
    assert len(set(drawn)) == 5


def test_the_attribute_may_be_exchanged_between_two_calls_of_learn():
    model = OffPAC("LinearPolicy", SmallProcess(), seed=0)
    model.learn(20)
    model.behavior_policy = "target"
    model.learn(1000, log_interval=None)
    assert model.ratio_statistics.mean == 1.0
