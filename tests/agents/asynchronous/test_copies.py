"""How workers get environments of their own: every way of giving one, and what is said where a copy is not exact."""

import copy
import os
import pickle
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit, TransformReward
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

import agents
from agents.asynchronous.copies import EnvironmentLike, factory_for, resolve
from agents.asynchronous.errors import EnvironmentCopyError
from agents.asynchronous.registrations import register_all, registrations
from tests.agents.toys import Counter, RandomEnv, Unpicklable


def copy_of(env: EnvironmentLike, worker: int = 0) -> VecEnv:
    """What a worker gets, by way of the bytes that travel to it."""
    given = env if isinstance(env, str) or not isinstance(env, gym.Env | VecEnv) else None
    model_env = agents.A3C("MlpPolicy", env, n_workers=1, _init_setup_model=False).env
    return cloudpickle.loads(cloudpickle.dumps(factory_for(given, model_env)))(worker)


@pytest.fixture
def registered() -> Any:
    """A registration of an environment that cannot be pickled."""
    gym.register("Unpicklable-v0", Unpicklable, max_episode_steps=50)
    yield "Unpicklable-v0"
    del gym.registry["Unpicklable-v0"]


@pytest.mark.parametrize(
    "env",
    ["CartPole-v1", lambda: gym.make("CartPole-v1"), lambda: make_vec_env("CartPole-v1"), gym.make("CartPole-v1")],
    ids=["id", "callable", "callable of a VecEnv", "instance"],
)
def test_every_way_to_give_an_environment_ends_in_the_same_vector_environment(env: EnvironmentLike) -> None:
    venv = copy_of(env)
    assert type(venv) is DummyVecEnv
    assert venv.num_envs == 1
    assert venv.get_attr("spec")[0].id == "CartPole-v1"
    assert venv.env_is_wrapped(Monitor) == [True]
    venv.reset()
    venv.step(np.array([0]))


def test_ids_are_made_without_rendering() -> None:
    assert resolve("CartPole-v1").render_mode is None
    assert copy_of("CartPole-v1").get_attr("render_mode") == [None]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: "CartPole-v1", r"returned 'CartPole-v1'; it must return a Gymnasium"),
        (3, r"env=3 is a int; it must be"),
    ],
)
def test_something_else_is_refused_with_what_is_allowed(wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        agents.A3C("MlpPolicy", wrong, n_workers=1)


def test_a_copy_by_value_keeps_attributes_set_after_make_and_shares_nothing() -> None:
    env = gym.make("CartPole-v1")
    env.unwrapped.force_mag = 3.0
    copied = copy_of(env).envs[0].unwrapped
    assert copied.force_mag == 3.0
    copied.force_mag = 4.0
    assert env.unwrapped.force_mag == 3.0


def test_what_cannot_be_pickled_is_made_anew_from_its_registration_with_a_warning(registered: str) -> None:
    env = TransformReward(gym.make(registered, length=9), _double)
    with pytest.warns(UserWarning, match=r"Unpicklable\.handle \(a lock\) cannot be pickled.*attributes set after"):
        venv = copy_of(env)
    inner = venv.envs[0]
    assert inner.unwrapped.length == 9
    assert [type(layer).__name__ for layer in layers(inner)][:3] == ["Monitor", "TransformReward", "TimeLimit"]
    venv.reset()
    assert venv.step(np.array([0]))[1][0] == 2.0


def test_a_monitor_goes_back_to_where_it_was_with_its_settings(registered: str) -> None:
    # outside of the Monitor a wrapper may change rewards, which the Monitor must not see
    monitor = Monitor(gym.make(registered), info_keywords=("pid",), allow_early_resets=False)
    with pytest.warns(UserWarning, match="registration"):
        venv = copy_of(TransformReward(monitor, _double))
    outer, rebuilt = layers(venv.envs[0])[:2]
    assert isinstance(outer, TransformReward)
    assert isinstance(rebuilt, Monitor)
    assert (rebuilt.info_keywords, rebuilt.allow_early_resets) == (("pid",), False)
    assert rebuilt.t_start == monitor.t_start


def _double(reward: float) -> float:
    return 2.0 * reward


def layers(env: gym.Env) -> list[Any]:
    found: list[Any] = [env]
    while isinstance(found[-1], gym.Wrapper):
        found.append(found[-1].env)
    return found


class Forgetful(gym.Wrapper):
    """A wrapper that does not record its arguments."""


def test_a_wrapper_that_recorded_nothing_stands_in_the_way_by_name(registered: str) -> None:
    with pytest.raises(EnvironmentCopyError, match=r"wrapper Forgetful is no .*RecordConstructorArgs.*Pass a callable"):
        copy_of(Forgetful(gym.make(registered)))


def test_without_pickle_and_registration_the_error_names_the_object_and_the_remedy() -> None:
    message = r"Unpicklable\.handle \(a lock\) cannot be pickled.*no registration.*Pass a callable"
    with pytest.raises(EnvironmentCopyError, match=message):
        copy_of(Unpicklable())
    assert issubclass(EnvironmentCopyError, TypeError)


def test_an_environment_that_cannot_be_copied_needs_no_copy_with_one_worker() -> None:
    model = agents.A3C("MlpPolicy", Unpicklable(), n_workers=1).learn(20)
    assert model.num_timesteps == 20


@pytest.mark.parametrize("part", ["environment", "policy", "learning_rate"])
def test_whatever_cannot_be_copied_into_workers_is_named_with_the_remedy(part: str) -> None:
    lock = threading.Lock()

    def make() -> gym.Env:
        assert not lock.locked()
        return Counter()

    def rate(remaining: float) -> float:
        return 1e-3 * remaining if not lock.locked() else 0.0

    env = make if part == "environment" else Counter
    model = agents.A3C("MlpPolicy", env, n_workers=2, learning_rate=rate if part == "learning_rate" else 1e-3)
    if part == "policy":
        model.policy.lock = lock
    with pytest.raises(TypeError, match=f"The {part} cannot be copied into workers .*lock.*n_workers=1"):
        model.learn(20)
    model.n_workers = 1
    assert model.learn(20).num_timesteps == 20


class Tells(Counter):
    """Its infos hold what cannot travel."""

    def step(self, action: Any) -> Any:
        *result, _ = super().step(action)
        return *result, {"simulator": threading.Lock()}


@pytest.mark.parametrize("per_step", [False, True])
def test_an_info_that_cannot_be_sent_is_named_with_the_remedy(per_step: bool) -> None:
    def make() -> gym.Env:
        return Monitor(Tells(), info_keywords=() if per_step else ("simulator",))

    model = agents.A3C("MlpPolicy", make, n_workers=2)
    with pytest.raises(TypeError, match=r"infos\['simulator'\] of the environment, a lock, cannot be .*n_workers=1"):
        model.learn(200, callback=(lambda *_: True) if per_step else None)
    model.n_workers = 1
    assert model.learn(20).num_timesteps == 20


def test_the_refusal_of_a_copy_leaves_the_model_usable() -> None:
    model = agents.A3C("MlpPolicy", Unpicklable(), n_workers=2)
    with pytest.raises(EnvironmentCopyError):
        model.learn(20)
    model.set_env(Unpicklable)
    assert model.learn(20).num_timesteps == 20


def test_the_vector_environment_of_subprocesses_is_made_anew_with_its_monitors() -> None:
    original = make_vec_env("CartPole-v1", 2, vec_env_cls=SubprocVecEnv, monitor_kwargs={"info_keywords": ()})
    try:
        with pytest.warns(UserWarning, match=r"SubprocVecEnv anew.*other processes"):
            venv = copy_of(original)
    finally:
        original.close()
    assert type(venv) is DummyVecEnv
    assert venv.num_envs == 2
    assert venv.env_is_wrapped(Monitor) == [True, True]


def test_subprocess_environments_without_a_registration_are_refused() -> None:
    original = SubprocVecEnv([Counter])
    try:
        with pytest.raises(EnvironmentCopyError, match=r"SubprocVecEnv cannot be copied.*no registration"):
            copy_of(original)
    finally:
        original.close()


def wrapped_chain() -> VecEnv:
    inner = VecNormalize(make_vec_env("CartPole-v1", 2), gamma=0.5)
    inner.obs_rms.mean[:] = 3.0
    return VecFrameStack(VecMonitor(inner), 4)


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_sb3s_vector_wrappers_travel_with_their_state_in_their_order() -> None:
    original = wrapped_chain()
    venv = copy_of(original)
    kinds = []
    layer: Any = venv
    while layer is not None:
        kinds.append(type(layer))
        layer = getattr(layer, "venv", None)
    assert kinds == [VecFrameStack, VecMonitor, VecNormalize, DummyVecEnv]
    assert venv.reset().shape == (2, 16)
    normalize = venv.venv.venv
    assert normalize.gamma == 0.5
    assert normalize.obs_rms.count == pytest.approx(2, abs=1e-3)  # its own statistics, begun from the given ones
    assert original.venv.venv.obs_rms.count == pytest.approx(0, abs=1e-3)
    venv.step(np.array([0, 0]))
    # a wrapper finds what an inner one offers, also when that is a method of its class
    raw = venv.unnormalize_obs(np.zeros((2, 4)))
    np.testing.assert_allclose(raw, np.tile(normalize.obs_rms.mean, (2, 1)), rtol=1e-6)


def test_images_are_transposed_in_the_copy_as_in_the_model() -> None:
    env = RandomEnv(spaces.Box(0, 255, (36, 40, 3), np.uint8), spaces.Discrete(2))
    venv = copy_of(env)
    assert isinstance(venv, VecTransposeImage)
    assert venv.reset().shape == (1, 3, 36, 40)


@pytest.mark.filterwarnings("ignore:The `render_mode` attribute is not defined")
def test_a_vector_environment_of_a_users_own_class_travels_by_value() -> None:
    class Mine(VecEnv):
        """Not SB3's."""

        def __init__(self) -> None:
            super().__init__(2, Counter.observation_space, Counter.action_space)

        def reset(self) -> Any:
            return np.zeros((2, 2), dtype=np.float32)

        def step_async(self, actions: Any) -> None:
            self.actions = actions

        def step_wait(self) -> Any:
            return self.reset(), np.ones(2), np.zeros(2, dtype=bool), [{}, {}]

        def close(self) -> None:
            pass

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(self, attr_name)] * 2

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            raise NotImplementedError

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False, False]

    assert type(copy_of(Mine())).__name__ == "Mine"
    assert agents.A3C("MlpPolicy", Mine(), n_workers=2).learn(40).num_timesteps == 40


class Hundredfold(DummyVecEnv):
    """A class of one's own that is more than SB3's."""

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = super().step_wait()
        return observations, 100.0 * rewards, dones, infos


class Elsewhere(SubprocVecEnv):
    """A class of one's own whose environments live in other processes."""


def test_a_class_of_ones_own_derived_from_sb3s_keeps_being_it_in_workers() -> None:
    rewards: set[float] = set()
    model = agents.A3C("MlpPolicy", Hundredfold([lambda: gym.make("CartPole-v1")] * 2), n_workers=2)
    model.learn(40, callback=lambda found, _: rewards.update(found["rewards"].tolist()) or True)
    assert rewards == {100.0}


def test_a_class_of_ones_own_is_copied_with_its_monitor_files(tmp_path: Path) -> None:
    env = Hundredfold([lambda: Monitor(Counter(), str(tmp_path / "a"))])
    model = agents.A3C("MlpPolicy", env, n_workers=2).learn(140)
    env.close()
    assert "a.worker0.monitor.csv" in os.listdir(tmp_path)
    assert len(load_results(str(tmp_path))) == len(model.ep_info_buffer) > 0


def test_a_class_of_ones_own_that_cannot_be_pickled_is_refused_instead_of_made_sb3s(registered: str) -> None:
    with pytest.raises(EnvironmentCopyError, match=r"Hundredfold cannot be copied.*lock.*SB3's class.*Pass a callable"):
        copy_of(Hundredfold([lambda: gym.make(registered)]))
    original = Elsewhere([lambda: gym.make("CartPole-v1")])
    try:
        with pytest.raises(EnvironmentCopyError, match=r"Elsewhere cannot be copied.*other processes.*SB3's class"):
            copy_of(original)
    finally:
        original.close()


class Looking(VecEnvWrapper):
    """Holds the first environment that it wraps."""

    def __init__(self, venv: DummyVecEnv) -> None:
        super().__init__(venv)
        self.first = venv.envs[0]

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


class Sharing(Counter):
    """Holds what another environment holds, too."""

    def __init__(self, counts: list[int]) -> None:
        super().__init__()
        self.counts = counts


def test_what_the_parts_of_an_instance_share_they_share_in_the_copy() -> None:
    counts: list[int] = []
    venv = copy_of(Looking(DummyVecEnv([lambda: Sharing(counts)] * 2)))
    inner = venv.venv
    assert venv.first is inner.envs[0]
    first, second = (env.unwrapped for env in inner.envs)
    assert first.counts is second.counts
    assert first.counts is not counts


def test_an_environment_that_must_be_made_anew_leaves_the_others_copied_by_value(registered: str) -> None:
    kept = gym.make("CartPole-v1").unwrapped

    class AsCounter(gym.ObservationWrapper):
        observation_space = Counter.observation_space

        def observation(self, observation: Any) -> Any:
            return observation[:2]

    kept.force_mag = 3.0
    with pytest.warns(UserWarning, match="Unpicklable-v0 anew"):
        venv = copy_of(DummyVecEnv([lambda: AsCounter(kept), lambda: gym.make(registered)]))
    assert venv.envs[0].unwrapped.force_mag == 3.0
    assert venv.envs[1].spec.id == registered


def test_every_worker_writes_its_own_monitor_file_and_sb3_reads_them_all(tmp_path: Path) -> None:
    env = Monitor(gym.make("CartPole-v1"), str(tmp_path / "run"), info_keywords=())
    model = agents.A3C("MlpPolicy", env, n_workers=2, seed=0)
    model.learn(600)
    model.env.close()
    files = sorted(os.listdir(tmp_path))
    assert files == ["run.monitor.csv", "run.worker0.monitor.csv", "run.worker1.monitor.csv"]
    frame = load_results(str(tmp_path))
    assert len(frame) == len(model.ep_info_buffer) > 5
    assert sorted(frame["l"]) == sorted(record["l"] for record in model.ep_info_buffer)
    assert (frame["t"] >= 0).all()


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_a_second_learn_goes_on_in_the_workers_monitor_files(tmp_path: Path) -> None:
    env = DummyVecEnv([lambda: Monitor(Counter(), str(tmp_path / "a"))])
    model = agents.A3C("MlpPolicy", VecMonitor(env, str(tmp_path / "all")), n_workers=2)
    counts = []
    for _ in range(2):
        model.learn(140, reset_num_timesteps=False)
        counts.append(len(load_results(str(tmp_path))))
    env.close()
    assert counts[1] > counts[0] > 0


def test_another_models_monitor_files_replace_what_an_older_run_left(tmp_path: Path) -> None:
    for steps in (140, 70):
        model = agents.A3C("MlpPolicy", Monitor(Counter(), str(tmp_path / "a")), n_workers=2).learn(steps)
        model.env.close()
    assert len(load_results(str(tmp_path))) == len(model.ep_info_buffer) < 11


def test_workers_know_the_ids_that_the_caller_registered() -> None:
    # neither the caller's main module nor what it imported is imported in a worker
    gym.register("OnlyHere-v0", Counter)
    try:
        for env in ("OnlyHere-v0", lambda: gym.make("OnlyHere-v0")):
            assert agents.A3C("MlpPolicy", env, n_workers=2).learn(20).num_timesteps == 20
    finally:
        del gym.registry["OnlyHere-v0"]


@pytest.fixture
def registry() -> Any:
    """Gymnasium's, put back afterwards."""
    before = {name: copy.copy(spec) for name, spec in gym.registry.items()}
    yield gym.registry
    gym.registry.clear()
    gym.registry.update(before)


def test_workers_know_an_id_of_ones_own_for_an_environment_of_gymnasiums(registry: Any) -> None:
    gym.register("CartPoleShort-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=6)
    model = agents.A3C("MlpPolicy", "CartPoleShort-v0", n_workers=2).learn(100)
    assert max(record["l"] for record in model.ep_info_buffer) == 6


def test_workers_know_what_was_changed_in_a_registration_of_gymnasiums(registry: Any) -> None:
    registry["CartPole-v1"].max_episode_steps = 5
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=2).learn(100)
    assert max(record["l"] for record in model.ep_info_buffer) == 5


def test_an_environment_of_the_main_module_is_made_anew_where_that_is_another_one(
    registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is registered by the name of the caller's main module means another module in a worker."""
    monkeypatch.setattr(sys.modules["__main__"], "Mine", Unpicklable, raising=False)
    gym.register("Mine-v0", "__main__:Mine")
    with pytest.warns(UserWarning, match="make Mine-v0 anew"):
        assert agents.A3C("MlpPolicy", gym.make("Mine-v0"), n_workers=2).learn(20).num_timesteps == 20


def test_a_registration_that_cannot_travel_does_not_keep_the_others_from_travelling() -> None:
    gym.register("Good-v0", Counter)
    gym.register("Bad-v0", Counter, kwargs={"handle": threading.Lock()})
    try:
        pickled = registrations()
    finally:
        del gym.registry["Good-v0"], gym.registry["Bad-v0"]
    names = set(pickle.loads(pickled))
    assert "Good-v0" in names
    assert "Bad-v0" not in names
    before = dict(gym.registry)
    try:
        register_all(pickled)
        assert gym.make("Good-v0").unwrapped.length == 7
    finally:
        gym.registry.clear()
        gym.registry.update(before)


def test_the_models_own_environment_is_not_stepped_by_workers() -> None:
    env = Counter()
    agents.A3C("MlpPolicy", env, n_workers=2).learn(50)
    assert env.steps == 0


def test_copies_keep_wrappers_that_gymnasium_recorded() -> None:
    env = RecordEpisodeStatistics(TimeLimit(gym.make("CartPole-v1").unwrapped, 17))
    kinds = [type(layer).__name__ for layer in layers(copy_of(env).envs[0])]
    assert kinds == ["Monitor", "RecordEpisodeStatistics", "TimeLimit", "CartPoleEnv"]


def test_no_warning_where_the_copy_is_exact() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy_of(gym.make("CartPole-v1"))
