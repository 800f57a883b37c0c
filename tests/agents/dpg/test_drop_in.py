"""DPG behaves as an algorithm of Stable-Baselines3 does: constructor, learn, callbacks, logger, files, spaces."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvBox
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import nn

import agents
from agents.dpg import DPG, TrainingDivergedError
from tests.agents.dpg.toys import HIGH, LOW, BoxProcess

POLICIES = ["LinearPolicy", "TileCodingPolicy", "MlpPolicy"]
each_policy = pytest.mark.parametrize("policy", POLICIES)


def pendulum_model(policy: str, **arguments: Any) -> DPG:
    kwargs: dict[str, Any] = {}
    if policy == "TileCodingPolicy":
        kwargs = {"n_tilings": 4, "n_tiles": 3}
    elif policy == "MlpPolicy":
        kwargs = {"net_arch": [8]}
    else:
        arguments = {"critic_learning_rate": 1e-4, "value_learning_rate": 1e-4, "learning_rate": 1e-5, **arguments}
    return DPG(policy, "Pendulum-v1", **{"seed": 0, "policy_kwargs": kwargs, **arguments})


def process(n_envs: int = 1, observe: str = "vector") -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(BoxProcess(observe)) for _ in range(n_envs)])


@each_policy
def test_it_is_a_base_algorithm_and_learns_to_the_step(policy: str) -> None:
    model = pendulum_model(policy)
    assert isinstance(model, BaseAlgorithm)
    assert model.learn(64) is model
    assert model.num_timesteps == 64
    model.learn(30, reset_num_timesteps=False)
    assert model.num_timesteps == 94
    assert model.learn(10).num_timesteps == 10


@each_policy
@pytest.mark.parametrize("callback", [None, lambda *_: True])
def test_a_budget_of_nothing_does_nothing(policy: str, callback: Any) -> None:
    assert pendulum_model(policy).learn(0, callback=callback).num_timesteps == 0


def test_the_default_budget_is_a_hundred_thousand_steps() -> None:
    class Stop(BaseCallback):
        total = 0

        def _on_training_start(self) -> None:
            self.total = self.locals["total_timesteps"]

        def _on_step(self) -> bool:
            return False

    stop = Stop()
    DPG("LinearPolicy", process()).learn(callback=stop)
    assert stop.total == 100_000


def test_defaults() -> None:
    model = pendulum_model("TileCodingPolicy")
    assert model.learning_rates() == (0.01, 0.1, 0.1, 0.1)
    assert pendulum_model("MlpPolicy").learning_rates() == (3e-4,) * 4
    defaults = (model.gamma, model.variant, model.natural_gradient, model.full_gq, model.behavior_policy)
    assert defaults == (0.99, "copdac-q", False, False, None)


@each_policy
def test_the_budget_is_rounded_up_to_a_multiple_of_the_environments(policy: str) -> None:
    kwargs = {"n_tilings": 2, "n_tiles": 2} if policy == "TileCodingPolicy" else {}
    model = DPG(policy, process(3), policy_kwargs=kwargs, seed=0)
    assert model.learn(100).num_timesteps == 102


def test_environments_come_as_id_callable_instance_or_vector() -> None:
    given: list[Any] = ["Pendulum-v1", lambda: gym.make("Pendulum-v1"), gym.make("Pendulum-v1")]
    given += [make_vec_env("Pendulum-v1", 2), lambda: make_vec_env("Pendulum-v1", 2)]
    for env in given:
        DPG("TileCodingPolicy", env).learn(10)
    model = DPG("TileCodingPolicy", "Pendulum-v1")
    assert model.env is not None
    assert model.env.get_attr("render_mode") == [None]


@pytest.mark.parametrize(
    ("space", "named"),
    [
        (spaces.Discrete(3), "OffPAC, DQN or A3C"),
        (spaces.MultiDiscrete([2, 3]), "A3C, A2C or PPO"),
        (spaces.MultiBinary(3), "A3C, A2C or PPO"),
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (1,)))), "None of the algorithms .*wrapper"),
        (spaces.Dict({"a": spaces.Box(-1, 1, (1,))}), "None of the algorithms .*wrapper"),
    ],
)
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_other_action_spaces_are_an_assertion_that_names_who_takes_them(policy: str, space: Any, named: str) -> None:
    env = BoxProcess("vector")
    env.action_space = space
    with pytest.raises(AssertionError, match=f"only supports Box .*{named}"):
        DPG(policy, env)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_boxes_of_integers_are_refused_as_what_is_executed_would_not_be_what_was_learned_from(
    policy: str, dtype: Any
) -> None:
    env = BoxProcess("vector")
    env.action_space = spaces.Box(0, 1, (2,), dtype)
    with pytest.raises(AssertionError, match=f"only supports Box .*{np.dtype(dtype)}.*TransformAction.*float32"):
        DPG(policy, env)


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_behind_a_normalization_a_callable_sees_the_environments_own_last_observations(
    n_envs: int, policy: str, tmp_path: Path
) -> None:
    # Clipped so tightly that what is normalized cannot be restored; the on-policy variant looks at every s'.
    processes = DummyVecEnv([lambda: BoxProcess("vector", cap=3) for _ in range(n_envs)])
    env = VecNormalize(processes, clip_obs=0.1)
    points = BoxProcess("vector").points
    seen = []

    def behavior(observations: Any) -> Any:
        seen.extend(np.array(observations))
        return np.tile([0.5, 0.2], (len(observations), 1))

    kwargs = {} if policy == "LinearPolicy" else {"net_arch": [5]}
    model = DPG(policy, env, variant="on-policy", behavior_policy=behavior, policy_kwargs=kwargs, seed=0)
    model.learn(60, callback=CheckpointCallback(20, str(tmp_path)))
    assert model._episode_num > 10
    for observation in seen:
        assert (observation == points).all(axis=1).any()
    assert env.venv is processes


def test_a_divergence_where_a_stack_of_frames_ends_is_called_that() -> None:
    # The normalization beneath remembers single frames, the last observation is a stack of them.
    env = VecFrameStack(VecNormalize(DummyVecEnv([lambda: BoxProcess("vector", cap=1)])), 2)
    kwargs = {"activation_fn": nn.ReLU, "net_arch": [16, 16]}
    model = DPG("MlpPolicy", env, policy_kwargs=kwargs, learning_rate=1e30, critic_learning_rate=1e30, seed=0)
    with pytest.raises(TrainingDivergedError, match="too large"):
        model.learn(50)


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_an_evaluation_behind_a_normalization_finds_the_wrappers_that_it_was_given(policy: str) -> None:
    def normalized() -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: BoxProcess("vector", cap=3)]))

    kwargs = {} if policy == "LinearPolicy" else {"net_arch": [5]}
    behaviors: list[Any] = [None, lambda observations: np.tile([0.5, 0.2], (len(observations), 1))]
    for behavior in behaviors:
        env = normalized()
        model = DPG(policy, env, variant="on-policy", behavior_policy=behavior, policy_kwargs=kwargs, seed=0)
        # SB3's callback compares the wrappers of both environments one by one.
        evaluation = EvalCallback(normalized(), eval_freq=20, n_eval_episodes=1, verbose=0)
        model.learn(60, callback=evaluation)
        assert evaluation.n_calls == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 99}, "gamma=99"),
        ({"variant": "ddpg"}, "variant='ddpg'.*'copdac-q', 'copdac-gq', 'opdac', 'on-policy'"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"critic_learning_rate": float("nan")}, "critic_learning_rate=nan"),
        ({"value_learning_rate": float("inf")}, "value_learning_rate=inf"),
        ({"variant": "opdac", "natural_gradient": True}, "natural_gradient=True.*no compatible critic"),
        ({"full_gq": True}, "full_gq=True.*copdac-gq"),
        ({"secondary_learning_rate": 0.1}, "secondary_learning_rate=0.1.*copdac-gq"),
        ({"behavior_policy": lambda o: o, "action_noise": NormalActionNoise(np.zeros(2), np.ones(2))}, "for mu itself"),
    ],
)
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_arguments_that_are_wrong_or_do_not_go_together_are_refused(
    policy: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DPG(policy, BoxProcess("vector"), **arguments)


def test_a_deep_critic_of_state_and_action_has_one_step_size() -> None:
    with pytest.raises(ValueError, match=r"value_learning_rate=0\.1.*critic_learning_rate"):
        DPG("MlpPolicy", BoxProcess("vector"), variant="opdac", value_learning_rate=0.1)


def test_other_policies_are_refused() -> None:
    with pytest.raises(TypeError, match="a subclass of LinearPolicy or DeepPolicy"):
        DPG(A2C.policy_aliases["MlpPolicy"], BoxProcess())
    with pytest.raises(ValueError, match="unknown"):
        DPG("TablePolicy", BoxProcess())


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Box(-1, 1, (2, 3), dtype=np.float32),
        spaces.Box(-1, 1, (2,), dtype=np.float64),
    ],
    ids=str,
)
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_observation_spaces(policy: str, space: Any, n_envs: int) -> None:
    class Sampled(gym.Env):
        observation_space = space
        action_space = spaces.Box(-2.0, 1.0, (2, 2), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action: Any) -> Any:
            assert self.action_space.contains(action)
            return self.observation_space.sample(), 1.0, bool(self.np_random.random() < 0.3), False, {}

    model = DPG(policy, DummyVecEnv([Sampled] * n_envs), seed=0)
    model.learn(40)
    action, state = model.predict(space.sample())
    assert state is None
    assert model.action_space.contains(action)
    batch = np.array([space.sample() for _ in range(5)])
    assert model.predict(batch)[0].shape == (5, 2, 2)
    values = model.policy.predict_values(model.policy.obs_to_tensor(batch)[0])  # type: ignore[operator]
    assert values.shape == (5, 1)
    assert values.dtype == th.float32


@each_policy
@pytest.mark.parametrize("variant", ["copdac-gq", "opdac", "on-policy"])
def test_saving_and_loading_keeps_weights_counters_and_actions(policy: str, variant: str, tmp_path: Any) -> None:
    model = pendulum_model(policy, gamma=0.9, variant=variant)
    model.learn(100)
    agents.save(model, tmp_path / "model.zip")
    loaded: Any = agents.load(tmp_path / "model.zip", env="Pendulum-v1")
    assert isinstance(loaded, DPG)
    for name, value in model.policy.state_dict().items():
        assert th.equal(value, loaded.policy.state_dict()[name]), name
    assert (loaded.num_timesteps, loaded.gamma, loaded.variant) == (100, 0.9, variant)
    observations = np.random.default_rng(0).uniform(-1.0, 1.0, size=(20, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(observations)[0], loaded.predict(observations)[0])
    loaded.learn(50, reset_num_timesteps=False)
    assert loaded.num_timesteps == 150
    assert DPG.load(tmp_path / "model.zip", env=make_vec_env("Pendulum-v1", 3)).learn(9).num_timesteps == 9


@each_policy
def test_parameters_can_be_read_and_set(policy: str) -> None:
    one, other = pendulum_model(policy), pendulum_model(policy, seed=1)
    one.learn(100)
    other.set_parameters(one.get_parameters(), exact_match=True)
    for name, value in one.policy.state_dict().items():
        assert th.equal(value, other.policy.state_dict()[name])
    other.learn(20)
    with pytest.raises(ValueError, match="do not match"):
        other.set_parameters({}, exact_match=True)


@each_policy
def test_copies_of_the_policy_stand_on_their_own(policy: str, tmp_path: Any) -> None:
    model = pendulum_model(policy)
    model.learn(50)
    snapshot = copy.deepcopy(model.policy)
    before = snapshot.parameters_to_vector()
    model.learn(50)
    np.testing.assert_array_equal(snapshot.parameters_to_vector(), before)
    snapshot.save(str(tmp_path / "policy.pt"))
    loaded = type(snapshot).load(str(tmp_path / "policy.pt"), device="cpu")
    np.testing.assert_array_equal(loaded.parameters_to_vector(), before)


@each_policy
@pytest.mark.parametrize("noise", ["default", "ornstein-uhlenbeck"])
def test_the_same_seed_gives_the_same_weights_and_another_one_others(policy: str, noise: str) -> None:
    weights = []
    for seed in (3, 3, 4):
        given = None if noise == "default" else OrnsteinUhlenbeckActionNoise(np.zeros(1), np.ones(1))
        weights.append(pendulum_model(policy, seed=seed, action_noise=given).learn(100).policy.parameters_to_vector())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_environments_can_be_exchanged() -> None:
    model = DPG("LinearPolicy", process(), seed=0).learn(20)
    model.set_env(lambda: BoxProcess("vector"))
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 40
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(process(2))
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env("Pendulum-v1")


class Journal(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.names: set[str] = set()

    def _on_training_start(self) -> None:
        self.events.append("training start")

    def _on_rollout_start(self) -> None:
        self.events.append("rollout start")

    def _on_step(self) -> bool:
        self.events.append("step")
        self.names |= set(self.locals)
        assert self.num_timesteps == self.model.num_timesteps
        assert self.locals["self"] is self.model
        return True

    def _on_rollout_end(self) -> None:
        self.events.append("rollout end")

    def _on_training_end(self) -> None:
        self.events.append("training end")


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_callbacks_come_in_ddpgs_order_with_its_locals(policy: str) -> None:
    ours, theirs = Journal(), Journal()
    DPG(policy, process()).learn(4, callback=ours)
    DDPG("MlpPolicy", process(), train_freq=1, buffer_size=10, policy_kwargs={"net_arch": [4]}).learn(
        4, callback=theirs
    )
    assert ours.events == theirs.events
    # all that does not belong to the replay buffer
    assert theirs.names - ours.names == {"replay_buffer", "learning_starts", "train_freq"}


def test_a_callback_that_says_no_ends_learning_at_that_step() -> None:
    model = DPG("LinearPolicy", process(), seed=0)
    model.learn(1000, callback=lambda locals_, _: locals_["self"].num_timesteps < 17)
    assert model.num_timesteps == 17
    model.learn(10_000, callback=StopTrainingOnMaxEpisodes(max_episodes=5))
    assert model._episode_num == 5


def test_a_checkpoint_holds_what_the_natural_gradient_has_done_so_far(tmp_path: Any) -> None:
    def make() -> DPG:
        return DPG("LinearPolicy", process(observe="index"), natural_gradient=True, seed=0)

    make().learn(60, callback=CheckpointCallback(save_freq=30, save_path=str(tmp_path), name_prefix="m"))
    # A checkpoint is written while step 30 is under way, before its update.
    twin = make().learn(29)
    loaded = DPG.load(tmp_path / "m_30_steps.zip")
    np.testing.assert_allclose(loaded.policy.table(), twin.policy.table(), atol=1e-14)  # type: ignore[operator]


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_evaluation_is_of_mu_and_rollout_of_the_behavior(policy: str) -> None:
    env = IdentityEnvBox(eps=0.1, ep_length=20)
    seen = IdentityEnvBox(eps=0.1, ep_length=20)
    model = DPG(policy, Monitor(env), seed=0, action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.9)))
    evaluation = EvalCallback(Monitor(seen), eval_freq=100, n_eval_episodes=1, verbose=0)
    model.learn(200, callback=evaluation)
    actions = [model.predict(np.array([0.3], dtype=np.float32), deterministic=way)[0] for way in (True, False)]
    np.testing.assert_array_equal(*actions)
    assert evaluation.n_calls == 200


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_logger_keys(policy: str, watched: bool, tmp_path: Any) -> None:
    model = DPG(policy, process(), critic_learning_rate=0.25, seed=0)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(100, callback=(lambda *_: True) if watched else None)
    header, row, *_ = (line.split(",") for line in (tmp_path / "progress.csv").read_text().splitlines())
    keys = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "time/episodes", "time/total_timesteps"}
    keys |= {"train/learning_rate", "train/critic_learning_rate", "train/value_learning_rate", "train/n_updates"}
    keys |= {"train/actor_loss", "train/critic_loss"}
    assert keys <= set(header)
    assert float(row[header.index("train/critic_learning_rate")]) == 0.25


def test_normalized_observations_are_what_is_learned_from() -> None:
    env = VecNormalize(process(2))
    model = DPG("LinearPolicy", env, seed=0).learn(100)
    assert model.get_vec_normalize_env() is env
    assert model._last_original_obs is not None


# behavior policies


@each_policy
@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("variant", ["copdac-q", "on-policy"])
def test_callables_get_the_environments_own_observations_and_their_actions_are_clipped(
    policy: str, n_envs: int, variant: str
) -> None:
    seen: list[np.ndarray] = []

    def behavior(observations: np.ndarray) -> np.ndarray:
        seen.append(observations)
        return np.tile([99.0, 0.25], (len(observations), 1))

    plain = process(n_envs, "square")
    env = VecNormalize(plain) if n_envs == 2 and policy != "TileCodingPolicy" else plain
    kwargs = {"n_tilings": 2, "n_tiles": 2} if policy == "TileCodingPolicy" else {}
    DPG(policy, env, behavior_policy=behavior, variant=variant, policy_kwargs=kwargs, seed=0).learn(40)
    assert all(observations.shape == (n_envs, 2) for observations in seen)
    points = BoxProcess("square").points
    for row in np.concatenate(seen):
        assert np.abs(points - row).sum(axis=1).min() < 1e-6
    received = np.array(plain.envs[0].unwrapped.received)  # type: ignore[attr-defined]
    np.testing.assert_allclose(received, np.tile([HIGH[0], 0.25], (len(received), 1)), rtol=1e-6)


@pytest.mark.parametrize("inside", [False, True])
def test_callables_get_images_as_the_environment_gave_them_through_normalization(inside: bool) -> None:
    images = spaces.Box(0, 255, (36, 40, 3), dtype=np.uint8)
    seen: list[np.ndarray] = []

    class Pictures(BoxProcess):
        def __init__(self) -> None:
            super().__init__("vector")
            self.observation_space = (
                spaces.Dict({"image": images, "vector": self.observation_space}) if inside else images
            )

        def _observation(self) -> Any:
            image = np.full(images.shape, self.state, dtype=np.uint8)
            return {"image": image, "vector": super()._observation()} if inside else image

    def behavior(observations: Any) -> np.ndarray:
        seen.append(observations["image"] if inside else observations)
        return np.tile([1.0, 0.25], (2, 1))

    env = VecNormalize(DummyVecEnv([Pictures] * 2), norm_obs=inside, norm_obs_keys=["vector"] if inside else None)
    policy = "MultiInputPolicy" if inside else "CnnPolicy"
    kwargs = {"net_arch": [4]}
    DPG(policy, env, variant="on-policy", behavior_policy=behavior, policy_kwargs=kwargs, seed=0).learn(20)
    assert all(observations.shape == (2, 36, 40, 3) for observations in seen)


@pytest.mark.parametrize("cls", [PPO, SAC, TD3, DPG])
@pytest.mark.parametrize("as_policy", [False, True])
def test_models_and_policies_act(cls: Any, as_policy: bool) -> None:
    env = process()
    kwargs = {} if cls in (PPO, DPG) else {"buffer_size": 10}
    helper = cls("MlpPolicy", env, device="cpu", **kwargs)
    model = DPG("LinearPolicy", env, behavior_policy=helper.policy if as_policy else helper, seed=0).learn(30)
    received = np.array(env.envs[0].unwrapped.received)  # type: ignore[attr-defined]
    assert (received >= LOW).all()
    assert (received <= HIGH).all()
    assert model.num_timesteps == 30


def test_a_model_as_behavior_is_not_stored_and_learning_asks_for_it(tmp_path: Any) -> None:
    env = process()
    helper = A2C("MlpPolicy", env, device="cpu")
    DPG("LinearPolicy", env, behavior_policy=helper, seed=0).learn(20).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"saved with a A2C .*DPG.load\(.*behavior_policy="):
        DPG.load(tmp_path / "model", env=env).learn(10)
    DPG.load(tmp_path / "model", env=env, behavior_policy=helper).learn(10)


def test_a_model_saved_again_without_its_behavior_still_says_whose_it_was(tmp_path: Any) -> None:
    env = process()
    helper = A2C("MlpPolicy", env, device="cpu")
    DPG("LinearPolicy", env, behavior_policy=helper, seed=0).learn(20).save(tmp_path / "first")
    # Who only evaluates or converts it has no behavior policy at hand.
    DPG.load(tmp_path / "first", env=env).save(tmp_path / "second")
    with pytest.raises(ValueError, match=r"saved with a A2C .*DPG.load\(.*behavior_policy="):
        DPG.load(tmp_path / "second", env=env).learn(10)
    model = DPG.load(tmp_path / "second", env=env, behavior_policy=helper).learn(10)
    # One that any file holds takes its place.
    model.behavior_policy = None
    model.save(tmp_path / "third")
    DPG.load(tmp_path / "third", env=env).learn(10)


@pytest.mark.parametrize(
    ("behavior", "error", "message"),
    [
        (lambda o: np.zeros((len(o), 3)), ValueError, r"shape \(1, 3\)"),
        (lambda o: np.full((len(o), 2), np.nan), ValueError, "must be finite"),
        (lambda o: "left", TypeError, r"behavior_policy returned str, but .* array of actions, \(1, 2\) here"),
        (lambda o: None, TypeError, "behavior_policy returned NoneType, but"),
        (lambda o: (np.zeros((len(o), 2)), None), TypeError, "behavior_policy returned tuple, but .* first"),
        (lambda o: th.distributions.Normal(th.zeros(1, 2), 1.0), TypeError, "returned Normal, but .* sample"),
        ("uniform", TypeError, "behavior_policy='uniform'"),
        (0.3, TypeError, "behavior_policy=0.3"),
    ],
)
def test_useless_behavior_policies_stop_the_run(behavior: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        DPG("LinearPolicy", process(), behavior_policy=behavior).learn(5)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_noise_of_the_wrong_size_is_refused(n_envs: int) -> None:
    with pytest.raises(ValueError, match="action_noise gave"):
        DPG("LinearPolicy", process(n_envs), action_noise=NormalActionNoise(np.zeros(3), np.ones(3))).learn(5)


@pytest.mark.parametrize("noise", [0.1, "normal", NormalActionNoise])
def test_noise_that_is_no_noise_is_refused_at_once(noise: Any) -> None:
    with pytest.raises(TypeError, match=r"action_noise=.*NormalActionNoise\("):
        DPG("LinearPolicy", process(), action_noise=noise)


def test_noise_is_spread_over_as_many_environments_as_there_are_also_later_on(tmp_path: Any) -> None:
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2))
    model = DPG("LinearPolicy", process(3), action_noise=noise, seed=0).learn(30)
    assert isinstance(model.action_noise, VectorizedActionNoise)
    model.save(tmp_path / "model")
    assert DPG.load(tmp_path / "model", env=process(1)).learn(5).num_timesteps == 5
    assert DPG.load(tmp_path / "model", env=process(2)).learn(6).num_timesteps == 6


# what goes wrong


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ({"value_learning_rate": 9.0, "critic_learning_rate": 0.0}, "value_learning_rate"),
        ({"critic_learning_rate": 99.0, "value_learning_rate": 0.0}, "critic_learning_rate"),
    ],
)
@pytest.mark.parametrize("observe", ["vector", "index"])
def test_divergence_stops_the_run_and_names_the_step_size(sizes: Any, name: str, observe: str) -> None:
    noise = NormalActionNoise(np.zeros(2), np.full(2, 0.9))
    model = DPG("LinearPolicy", process(observe=observe), seed=0, learning_rate=0.0, action_noise=noise, **sizes)
    with pytest.raises(TrainingDivergedError, match=f"{name} is too large"):
        model.learn(50_000)
    assert np.isfinite(model.policy.table()).all()  # type: ignore[operator]


def test_a_reward_or_an_observation_that_is_not_a_number_is_the_environments_fault() -> None:
    env = BoxProcess("vector")
    env.goals[:] = np.nan
    with pytest.raises(ValueError, match="reward nan"):
        DPG("LinearPolicy", env).learn(5)
    with pytest.raises(ValueError, match="must be finite"):
        DPG("MlpPolicy", env).learn(5)
    env = BoxProcess("vector")
    env.points[:] = np.nan
    for policy in ("LinearPolicy", "MlpPolicy"):
        for callback in (None, lambda *_: True):
            with pytest.raises(ValueError, match="NaN"):
                DPG(policy, env).learn(5, callback=callback)


@pytest.mark.parametrize("variant", ["copdac-q", "copdac-gq", "opdac"])
@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_an_observation_that_becomes_nan_in_the_middle_of_an_episode_is_not_blamed_on_a_step_size(
    policy: str, n_envs: int, variant: str
) -> None:
    class Breaks(BoxProcess):
        def _observation(self) -> Any:
            return super()._observation() * (np.nan if len(self.received) == 5 else 1.0)

    model = DPG(policy, DummyVecEnv([lambda: Breaks("vector")] * n_envs), variant=variant, seed=0)
    with pytest.raises(ValueError, match="observation holds NaN"):
        model.learn(30)
    assert all(th.isfinite(part).all() for part in model.policy.state_dict().values())


@pytest.mark.parametrize("variant", ["copdac-q", "on-policy"])
@pytest.mark.parametrize("callback", [None, lambda *_: True])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("call", [0, 1, 5])
def test_noise_that_is_nan_is_named_and_not_a_step_size(call: int, policy: str, callback: Any, variant: str) -> None:
    class Breaks(NormalActionNoise):
        calls = 0

        def __call__(self) -> Any:
            self.calls += 1
            return super().__call__() * (np.nan if self.calls == call + 1 else 1.0)

    model = DPG(policy, process(), variant=variant, action_noise=Breaks(np.zeros(2), np.ones(2)), seed=0)
    with pytest.raises(ValueError, match=r"action_noise gave NaN .*must be finite.*mean and sigma"):
        model.learn(30, callback=callback)
    assert all(th.isfinite(part).all() for part in model.policy.state_dict().values())


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_a_deviation_that_a_callback_makes_nan_is_the_noises_fault(policy: str) -> None:
    noise = NormalActionNoise(np.zeros(2), np.ones(2))

    def spoil(locals_: Any, _: Any) -> bool:
        noise._sigma = np.array([1.0, np.nan])
        return True

    with pytest.raises(ValueError, match=r"action_noise gave NaN"):
        DPG(policy, process(), action_noise=noise, seed=0).learn(30, callback=spoil)


@pytest.mark.parametrize(
    "noise",
    [
        NormalActionNoise(np.zeros(2), np.array([0.1, np.nan])),
        NormalActionNoise(np.array([np.inf, 0.0]), np.ones(2)),
        OrnsteinUhlenbeckActionNoise(np.zeros(2), np.array([np.nan, 0.1])),
        VectorizedActionNoise(NormalActionNoise(np.zeros(2), np.full(2, np.nan)), 1),
    ],
)
def test_noise_whose_parameters_are_not_finite_is_refused_at_once(noise: Any) -> None:
    with pytest.raises(ValueError, match=r"action_noise=.*(sigma|mean).*(nan|inf).*must be finite"):
        DPG("LinearPolicy", process(), action_noise=noise)


@pytest.mark.parametrize("behavior", [None, lambda o: np.tile([0.3, 2.0], (len(o), 1))])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_an_entry_of_the_action_that_cannot_move_does_no_harm(policy: str, behavior: Any) -> None:
    class Fixed(BoxProcess):
        def __init__(self) -> None:
            super().__init__("vector")
            self.action_space = spaces.Box(np.array([-1.0, 2.0]), np.array([3.0, 2.0]), dtype=np.float64)

    model = DPG(policy, Fixed(), behavior_policy=behavior, seed=0).learn(30)
    assert all(th.isfinite(part).all() for part in model.policy.state_dict().values())
    action, _ = model.predict(np.zeros(3))
    assert action[1] == 2.0


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_a_reward_that_is_nan_is_that_of_one_environment_at_one_step(policy: str) -> None:
    class Breaks(BoxProcess):
        def step(self, action: Any) -> Any:
            observation, reward, *rest = super().step(action)
            return observation, np.nan if len(self.received) == 4 else reward, *rest

    env = DummyVecEnv([lambda: BoxProcess("vector"), lambda: Breaks("vector")])
    with pytest.raises(ValueError, match="reward nan in environment 1 at step 8, but it must be finite"):
        DPG(policy, env, seed=0).learn(30)


def test_an_interrupt_leaves_a_usable_model() -> None:
    def interrupt(locals_: Any, _: Any) -> bool:
        if locals_["self"].num_timesteps == 30:
            raise KeyboardInterrupt
        return True

    for policy in ("LinearPolicy", "MlpPolicy"):
        model = DPG(policy, process(), seed=0)
        with pytest.raises(KeyboardInterrupt):
            model.learn(100, callback=interrupt)
        model.predict(np.zeros(3))
        model.learn(10)
