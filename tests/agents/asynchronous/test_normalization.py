"""Normalized observations with several workers: one set of statistics, that of all streams put together."""

import os
import pickle
import threading
import uuid
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

import agents
from agents.asynchronous.errors import WorkerError
from agents.asynchronous.normalization import ModelNormalization, SharedNormalization, _valid
from tests.agents.toys import Misbehaving, RandomEnv
from wrappers import VecNormalize
from wrappers.running_statistics import RunningStatistics

KINDS = pytest.mark.parametrize("kind", [SB3VecNormalize, VecNormalize], ids=["SB3's", "ours"])
WORKERS = pytest.mark.parametrize("n_workers", [1, 2])
PRIOR = 1e-4
GAMMA = 0.9


class Recorder(gym.Env):
    """Drifting observations; every copy writes what it shows, and its rewards, to a file of its own.

    The mean differs between copies, so that statistics of one worker alone would be far from those of all.
    """

    action_space = spaces.Discrete(2)

    def __init__(self, folder: Path, as_dict: bool = False, length: int = 9) -> None:
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.observation_space = spaces.Dict({"a": box, "b": box, "k": spaces.Discrete(3)}) if as_dict else box
        self.as_dict, self.length, self.folder = as_dict, length, folder
        self.name = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "name": ""}

    def _show(self, kind: str, reward: float = 0.0) -> Any:
        if not self.name:
            self.name = f"{os.getpid()}-{uuid.uuid4().hex}"
            self.offset = 20.0 * self.np_random.random()
        self.t = 0 if kind == "reset" else self.t + 1
        parts = (self.offset + self.np_random.normal(size=(2, 2)) * [[1.0, 3.0], [5.0, 0.1]]).astype(np.float32)
        ended = self.t == self.length
        with (self.folder / self.name).open("ab") as file:
            pickle.dump((kind, parts, reward, ended), file)
        observation = {"a": parts[0], "b": parts[1], "k": 1} if self.as_dict else parts[0]
        return observation, ended

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self._show("reset")[0], {}

    def step(self, action: int) -> Any:
        reward = float(self.np_random.normal(3.0, 2.0))
        observation, ended = self._show("step", reward)
        return observation, reward, False, ended, {}


class Streams:
    """What all copies wrote, and the statistics that follow from it by the definition."""

    def __init__(self, folder: Path) -> None:
        self.files = []
        for path in sorted(folder.iterdir()):
            with path.open("rb") as file:
                records = []
                while True:
                    try:
                        records.append(pickle.load(file))
                    except EOFError:
                        break
                self.files.append(records)

    def observations(self, part: int) -> np.ndarray:
        """What a VecNormalize sees: every observation but the last of an episode, in whose place stands the reset's."""
        seen = [record[1][part] for records in self.files for record in records if not record[3]]
        return np.asarray(seen, np.float64)

    def returns(self) -> np.ndarray:
        """The discounted return so far in the episode, a number a step."""
        found = []
        for records in self.files:
            so_far = 0.0
            for kind, _, reward, ended in records:
                if kind == "reset":
                    continue
                so_far = GAMMA * so_far + np.float32(reward)
                found.append(so_far)
                so_far *= not ended
        return np.asarray(found, np.float64)

    @property
    def steps(self) -> int:
        return sum(record[0] == "step" for records in self.files for record in records)

    @property
    def explicit_resets(self) -> int:
        """Resets that do not follow an episode's end."""
        found = 0
        for records in self.files:
            ended = False
            for kind, _, _, ends in records:
                found += kind == "reset" and not ended
                ended = ends
        return found


def assert_statistics(found: Any, samples: np.ndarray) -> None:
    """Those of the samples and of one imagined sample of weight 1e-4, mean 0 and variance 1."""
    count = PRIOR + len(samples)
    mean = samples.sum(axis=0) / count
    variance = (PRIOR + (samples**2).sum(axis=0)) / count - mean**2
    assert found.count == pytest.approx(count, abs=1e-6)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.var, variance, rtol=1e-5)


def make(kind: Any, folder: Path, n_envs: int = 1, as_dict: bool = False, **options: Any) -> Any:
    folder.mkdir(exist_ok=True)
    if as_dict:
        options = {"norm_obs_keys": ["a", "b"], **options}
    return kind(DummyVecEnv([lambda: Recorder(folder, as_dict)] * n_envs), gamma=GAMMA, **options)


@KINDS
@WORKERS
@pytest.mark.parametrize("n_envs", [1, 3])
def test_the_statistics_are_those_of_all_streams_put_together(
    tmp_path: Path, kind: Any, n_workers: int, n_envs: int
) -> None:
    env = make(kind, tmp_path / "streams", n_envs)
    model = agents.A3C("MlpPolicy", env, n_workers=n_workers, seed=0, policy_kwargs={"net_arch": [8]})
    model.learn(300)
    streams = Streams(tmp_path / "streams")
    assert streams.steps == model.num_timesteps == 300
    # learn resets the model's own environment, each worker its copy; one worker works on the model's own
    assert streams.explicit_resets == (1 if n_workers == 1 else 3) * n_envs
    assert model.get_vec_normalize_env() is env
    assert_statistics(env.obs_rms, streams.observations(0))
    assert_statistics(env.ret_rms, streams.returns())
    assert env.obs_rms.count == pytest.approx(PRIOR + 300 + streams.explicit_resets)
    assert env.ret_rms.count == pytest.approx(PRIOR + 300)


@KINDS
@WORKERS
def test_the_keys_of_a_dict_have_statistics_of_their_own(tmp_path: Path, kind: Any, n_workers: int) -> None:
    env = make(kind, tmp_path / "streams", as_dict=True)
    agents.A3C("MultiInputPolicy", env, n_workers=n_workers, seed=0).learn(200)
    streams = Streams(tmp_path / "streams")
    assert sorted(env.obs_rms) == ["a", "b"]
    for part, key in enumerate("ab"):
        assert_statistics(env.obs_rms[key], streams.observations(part))
    assert_statistics(env.ret_rms, streams.returns())


def test_what_a_worker_saw_counts_although_it_found_no_step_left(tmp_path: Path) -> None:
    env = make(SB3VecNormalize, tmp_path / "streams")
    agents.A3C("MlpPolicy", env, n_workers=3, seed=0).learn(5)
    assert env.obs_rms.count == pytest.approx(PRIOR + 5 + 4)  # one worker took all five; all three had reset


@KINDS
def test_the_next_learn_goes_on_from_the_statistics(tmp_path: Path, kind: Any) -> None:
    env = make(kind, tmp_path / "streams")
    model = agents.AsyncNStepQ("MlpPolicy", env, n_workers=2, seed=0)
    model.learn(100)
    model.learn(100, reset_num_timesteps=False)
    streams = Streams(tmp_path / "streams")
    assert streams.explicit_resets == 5  # the second call resets the workers' copies, not the model's own environment
    assert_statistics(env.obs_rms, streams.observations(0))
    assert_statistics(env.ret_rms, streams.returns())


@KINDS
def test_statistics_below_another_wrapper_are_found(tmp_path: Path, kind: Any) -> None:
    env = make(kind, tmp_path / "streams")
    model = agents.A3C("MlpPolicy", VecFrameStack(env, 2), n_workers=2, seed=0).learn(100)
    assert model.get_vec_normalize_env() is env
    assert_statistics(env.obs_rms, Streams(tmp_path / "streams").observations(0))


@KINDS
@WORKERS
@pytest.mark.parametrize("learn", ["nothing", "rewards only"])
def test_statistics_that_do_not_learn_stay(tmp_path: Path, kind: Any, n_workers: int, learn: str) -> None:
    env = make(kind, tmp_path / "streams", training=learn != "nothing", norm_obs=learn == "nothing")
    model = agents.A3C("MlpPolicy", env, n_workers=n_workers, seed=0).learn(100)
    assert model.num_timesteps == 100
    if learn == "nothing":
        assert env.obs_rms.count == PRIOR
        assert env.ret_rms.count == PRIOR
        np.testing.assert_array_equal(env.obs_rms.mean, [0.0, 0.0])
    else:
        assert_statistics(env.ret_rms, Streams(tmp_path / "streams").returns())


@WORKERS
def test_learning_inside_a_freeze_block_leaves_the_statistics(tmp_path: Path, n_workers: int) -> None:
    env = make(VecNormalize, tmp_path / "streams")
    model = agents.A3C("MlpPolicy", env, n_workers=n_workers, seed=0)
    with env.freeze():
        model.learn(50)
    assert env.obs_rms.count == PRIOR
    assert model.learn(50).get_vec_normalize_env().obs_rms.count > 50


@KINDS
@WORKERS
@pytest.mark.parametrize("as_dict", [False, True], ids=["box", "dict"])
def test_a_callables_normalization_is_the_models_when_that_was_set_and_frozen(
    tmp_path: Path, kind: Any, n_workers: int, as_dict: bool
) -> None:
    """Workers call the callable again, and what it makes knows nothing of the model's own wrapper."""
    policy = "MultiInputPolicy" if as_dict else "MlpPolicy"
    model = agents.A3C(policy, lambda: make(kind, tmp_path / "streams", as_dict=as_dict), n_workers=n_workers, seed=0)
    env = model.get_vec_normalize_env()
    for statistics in env.obs_rms.values() if as_dict else [env.obs_rms]:
        statistics.mean, statistics.var, statistics.count = np.array([9.0, 9.0]), np.array([4.0, 4.0]), 100.0
    env.training, env.norm_reward, env.clip_obs = False, False, 2.5
    shown, rewards = [], []

    def watch(found: dict[str, Any], _: Any) -> bool:
        observation = found["new_obs"]["a"] if as_dict else found["new_obs"]
        shown.append(observation[0].copy())
        rewards.append(float(found["rewards"][0]))
        return True

    model.learn(60, callback=watch)
    streams = Streams(tmp_path / "streams")
    # the observation an episode ends with is not shown, the reset's is
    expected = np.clip((streams.observations(0) - 9.0) / np.sqrt(4.0 + 1e-8), -2.5, 2.5)
    for row in shown:
        assert np.abs(expected - row).max(axis=1).min() < 1e-5
    assert np.abs(shown).max() == 2.5
    raw = np.float32([record[2] for records in streams.files for record in records if record[0] == "step"])
    np.testing.assert_array_equal(np.sort(np.float32(rewards)), np.sort(raw))
    assert (env.obs_rms["a"] if as_dict else env.obs_rms).count == 100.0


@KINDS
def test_a_callables_normalization_learns_with_the_models_settings(tmp_path: Path, kind: Any) -> None:
    model = agents.A3C("MlpPolicy", lambda: make(kind, tmp_path / "streams"), n_workers=2, seed=0)
    env = model.get_vec_normalize_env()
    env.norm_reward = False
    rewards: list[float] = []
    model.learn(100, callback=lambda found, _: rewards.append(float(found["rewards"][0])) or True)
    streams = Streams(tmp_path / "streams")
    raw = np.float32([record[2] for records in streams.files for record in records if record[0] == "step"])
    np.testing.assert_array_equal(np.sort(np.float32(rewards)), np.sort(raw))
    assert_statistics(env.obs_rms, streams.observations(0))
    assert_statistics(env.ret_rms, streams.returns())


@KINDS
def test_a_model_keeps_its_own_wrapper_and_statistics_of_its_own_kind(tmp_path: Path, kind: Any) -> None:
    """SB3's wrapper must still be readable where only SB3 is installed."""
    env = make(kind, tmp_path / "streams")
    agents.A3C("MlpPolicy", env, n_workers=2, seed=0).learn(60)
    for statistics in (env.obs_rms, env.ret_rms):
        assert type(statistics) is (RunningMeanStd if kind is SB3VecNormalize else RunningStatistics)
    env.save(str(tmp_path / "file"))
    loaded = kind.load(str(tmp_path / "file"), DummyVecEnv([lambda: Recorder(tmp_path / "streams")]))
    np.testing.assert_array_equal(loaded.obs_rms.mean, env.obs_rms.mean)


def test_the_largest_sum_of_rewards_is_that_of_all_workers(tmp_path: Path) -> None:
    env = make(VecNormalize, tmp_path / "streams", reward_by="episode_maximum")
    agents.A3C("MlpPolicy", env, n_workers=2, seed=0).learn(200)
    largest = 0.0
    for records in Streams(tmp_path / "streams").files:
        so_far = 0.0
        for kind, _, reward, _ in records:
            so_far = 0.0 if kind == "reset" else so_far + np.float32(reward)
            largest = max(largest, abs(so_far))
    assert env.largest_sum == pytest.approx(largest, rel=1e-6)


@KINDS
def test_a_worker_that_is_killed_takes_nothing_of_the_others_along(tmp_path: Path, kind: Any) -> None:
    # the copy that is killed is in the middle of a segment, which was never counted; all else was merged before
    env = kind(DummyVecEnv([lambda: Misbehaving(once=str(tmp_path / "once"), when=203, what="kill")]))
    model = agents.A3C("MlpPolicy", env, n_workers=2, seed=0)
    with pytest.raises(WorkerError, match="SIGKILL"):
        model.learn(10**6)
    assert model.num_timesteps >= 200
    resets = env.obs_rms.count - PRIOR - model.num_timesteps
    assert resets in (pytest.approx(2.0), pytest.approx(3.0))  # the model's, and those of the workers that had begun
    assert env.ret_rms.count == pytest.approx(PRIOR + model.num_timesteps)
    model.set_env(kind(DummyVecEnv([lambda: Misbehaving(once=str(tmp_path / "once"))])))
    assert model.learn(50).num_timesteps == 50


# the two ends without processes


def two_workers(kind: Any, folder: Path) -> tuple[Any, Any, SharedNormalization, SharedNormalization, dict[str, Any]]:
    shared = ModelNormalization(make(kind, folder / "model")).arrays()
    lock = threading.Lock()
    first, second = make(kind, folder / "first"), make(kind, folder / "second")
    return first, second, SharedNormalization(first, shared, lock), SharedNormalization(second, shared, lock), shared


@KINDS
def test_a_worker_acts_with_what_all_have_seen(tmp_path: Path, kind: Any) -> None:
    first, second, first_end, second_end, _ = two_workers(kind, tmp_path)
    for seed, env in enumerate((first, second)):
        env.seed(seed)  # means that differ, and are not so far from the probe that this would be clipped
        env.reset()
        for _ in range(20):
            env.step(np.array([0]))
    probe = np.array([[7.0, 7.0]], np.float32)
    alone = second.normalize_obs(probe)
    first_end.exchange()
    second_end.exchange()
    merged = second.normalize_obs(probe)
    seen = np.concatenate([Streams(tmp_path / name).observations(0) for name in ("first", "second")])
    count = PRIOR + len(seen)
    mean = seen.sum(axis=0) / count
    deviation = np.sqrt((PRIOR + (seen**2).sum(axis=0)) / count - mean**2 + 1e-8)
    np.testing.assert_allclose(merged[0], (probe[0] - mean) / deviation, rtol=1e-4)
    assert np.abs(merged - alone).max() > 0.1
    # the first learns of it at its next exchange
    assert np.abs(first.normalize_obs(probe) - merged).max() > 0.01
    first_end.exchange()
    np.testing.assert_allclose(first.normalize_obs(probe), merged, rtol=1e-5)


@KINDS
def test_exchanging_without_new_observations_changes_nothing(tmp_path: Path, kind: Any) -> None:
    first, _, first_end, second_end, shared = two_workers(kind, tmp_path)
    first.reset()
    first_end.exchange()
    before = _valid(shared)
    for end in (second_end, first_end, second_end):
        end.exchange()
    np.testing.assert_array_equal(_valid(shared), before)


def test_what_is_read_was_not_written_to_meanwhile() -> None:
    """Two merges while one version is copied write to that version: the copy must be made again."""

    class Interrupted:
        """The first copy of a version is interrupted by two merges, and half old, half new."""

        def __init__(self) -> None:
            self.versions = np.zeros((2, 4))
            self.merges = np.zeros(1, np.int64)
            self.interrupted = False

        def __getitem__(self, number: int) -> Any:
            outer = self

            class Version:
                def copy(self) -> np.ndarray:
                    copied = outer.versions[number].copy()
                    if not outer.interrupted:
                        outer.interrupted = True
                        outer.versions[:] = 7.0
                        outer.merges[0] += 2
                        copied[2:] = 7.0
                    return copied

            return Version()

    memory = Interrupted()
    found = _valid({"normalization": memory, "normalization_merges": memory.merges})  # type: ignore[dict-item]
    np.testing.assert_array_equal(found, [7.0, 7.0, 7.0, 7.0])


@KINDS
def test_a_worker_begins_with_the_models_statistics(tmp_path: Path, kind: Any) -> None:
    model_env, fresh = make(kind, tmp_path / "model"), make(kind, tmp_path / "worker")
    for _ in range(5):
        model_env.reset()
    SharedNormalization(fresh, ModelNormalization(model_env).arrays(), threading.Lock())
    np.testing.assert_array_equal(fresh.obs_rms.mean, model_env.obs_rms.mean)
    assert fresh.obs_rms.count == model_env.obs_rms.count == pytest.approx(5 + PRIOR)


def test_a_worker_that_dies_while_it_merges_leaves_what_was_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, first_end, second_end, shared = two_workers(VecNormalize, tmp_path)
    first.reset()
    first_end.exchange()
    valid = _valid(shared)

    def die(vector: np.ndarray) -> None:
        vector[:] = np.nan
        raise SystemExit

    monkeypatch.setattr(second_end._exchange, "report", die)
    with pytest.raises(SystemExit):
        second_end.exchange()
    np.testing.assert_array_equal(_valid(shared), valid)
    first.reset()
    first_end.exchange()
    assert np.isfinite(_valid(shared)).all()


# callbacks and files


class WatchCounts(BaseCallback):
    """The count of the statistics at the end of each segment."""

    def _on_training_start(self) -> None:
        self.counts: list[float] = []

    def _on_rollout_end(self) -> None:
        self.counts.append(self.model.get_vec_normalize_env().obs_rms.count)

    def _on_step(self) -> bool:
        return True


@KINDS
@WORKERS
def test_callbacks_see_the_statistics_grow(tmp_path: Path, kind: Any, n_workers: int) -> None:
    watch = WatchCounts()
    env = make(kind, tmp_path / "streams")
    agents.A3C("MlpPolicy", env, n_workers=n_workers, seed=0).learn(300, callback=watch)
    assert watch.counts == sorted(watch.counts)
    assert watch.counts[0] < 250
    assert watch.counts[-1] >= 295


@KINDS
@WORKERS
def test_an_evaluation_is_normalized_with_the_training_statistics_and_does_not_change_them(
    tmp_path: Path, kind: Any, n_workers: int
) -> None:
    env = make(kind, tmp_path / "streams")
    (tmp_path / "evaluation").mkdir()
    evaluation_env = kind(
        DummyVecEnv([lambda: Monitor(Recorder(tmp_path / "evaluation"))]), training=False, norm_reward=False
    )
    counts: list[tuple[float, float]] = []

    class Watch(EvalCallback):
        def _on_step(self) -> bool:
            answer = super()._on_step()
            if self.eval_freq > 0 and self.n_calls % self.eval_freq == 0:
                counts.append((self.eval_env.obs_rms.count, self.model.get_vec_normalize_env().obs_rms.count))
            return answer

    evaluate = Watch(evaluation_env, eval_freq=100, n_eval_episodes=2, verbose=0, best_model_save_path=str(tmp_path))
    model = agents.A3C("MlpPolicy", env, n_workers=n_workers, seed=0).learn(300, callback=evaluate)
    assert len(counts) == 3
    assert all(found == expected > 50 for found, expected in counts)
    assert_statistics(env.obs_rms, Streams(tmp_path / "streams").observations(0))  # nothing of the evaluation
    assert (tmp_path / "best_model.zip").exists()
    assert model.num_timesteps == 300


@WORKERS
def test_checkpoints_keep_that_moments_statistics(tmp_path: Path, n_workers: int) -> None:
    env = make(SB3VecNormalize, tmp_path / "streams")
    checkpoints = CheckpointCallback(save_freq=100, save_path=str(tmp_path), save_vecnormalize=True)
    agents.A3C("MlpPolicy", env, n_workers=n_workers, seed=0).learn(200, callback=checkpoints)
    counts = []
    for steps in (100, 200):
        path = str(tmp_path / f"rl_model_vecnormalize_{steps}_steps.pkl")
        counts.append(SB3VecNormalize.load(path, DummyVecEnv([lambda: Recorder(tmp_path)])).obs_rms.count)
    assert 99 <= counts[0] <= counts[1] <= env.obs_rms.count


@KINDS
@pytest.mark.parametrize("given", ["instance", "callable"])
def test_a_saved_model_learns_on_with_the_files_statistics_frozen(tmp_path: Path, kind: Any, given: str) -> None:
    """agents.load wraps the environment, and two workers must act with the same frozen statistics as the model."""
    trained = agents.A3C("MlpPolicy", make(kind, tmp_path / "streams"), n_workers=2, seed=0).learn(200)
    agents.save(trained, tmp_path / "model.zip")
    seen: list[np.ndarray] = []

    def watch(found: dict[str, Any], _: Any) -> bool:
        seen.append(found["new_obs"][0].copy())
        return True

    (tmp_path / "later").mkdir()
    env = Recorder(tmp_path / "later") if given == "instance" else lambda: Recorder(tmp_path / "later")
    model = agents.load(tmp_path / "model.zip", env=env)
    before = model.get_vec_normalize_env().obs_rms.mean.copy()
    model.learn(100, callback=watch, reset_num_timesteps=False)
    np.testing.assert_array_equal(model.get_vec_normalize_env().obs_rms.mean, before)
    raw = Streams(tmp_path / "later").observations(0)
    normalized = (raw - before) / np.sqrt(model.get_vec_normalize_env().obs_rms.var + 1e-8)
    for row in seen:
        assert np.abs(np.clip(normalized, -10, 10) - row).max(axis=1).min() < 1e-4


class Integers(RandomEnv):
    """Counts up to 100, alone or beside what is not normalized."""

    def __init__(self, as_dict: bool) -> None:
        counts = spaces.Box(0, 100, (3,), np.int64)
        space = spaces.Dict({"counts": counts, "kind": spaces.Discrete(4)}) if as_dict else counts
        super().__init__(space, spaces.Discrete(2))


@KINDS
@WORKERS
@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("cls", [agents.A3C, agents.AsyncNStepQ], ids=lambda cls: cls.__name__)
def test_integers_that_are_normalized_are_not_cut_back_to_integers(
    kind: Any, n_workers: int, as_dict: bool, cls: Any
) -> None:
    keys = ["counts"] if as_dict else None
    venv = kind(DummyVecEnv([lambda: Integers(as_dict)] * 2), norm_obs_keys=keys)
    seen: list[Any] = []

    def note(found: dict[str, Any], _: Any) -> bool:
        seen.append(found["new_obs"])
        return True

    policy = "MultiInputPolicy" if as_dict else "MlpPolicy"
    model = cls(policy, venv, n_workers=n_workers, seed=0).learn(200, callback=note)
    counts = np.concatenate([observations["counts"] if as_dict else observations for observations in seen])
    assert counts.dtype == np.float32
    assert len(np.unique(counts)) > 50  # cut off, about five are left
    if as_dict:
        assert seen[0]["kind"].dtype == np.int64
    if n_workers == 1:
        shown = model._last_obs["counts"] if as_dict else model._last_obs
        np.testing.assert_array_equal(shown, counts[-2:])
