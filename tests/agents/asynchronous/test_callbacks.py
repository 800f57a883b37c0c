"""Callbacks and the logger in the calling process, held against SB3's A2C where it does the same."""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

import agents
from agents.asynchronous.delivery import looks_at_steps
from tests.agents.toys import Counter, RandomEnv, Together

WORKERS = pytest.mark.parametrize("n_workers", [1, 2])


class Tape(BaseCallback):
    """Which of its methods was called when, and what it could see."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        self.seen: list[dict[str, Any]] = []

    def _note(self, name: str) -> None:
        self.calls.append((name, self.num_timesteps))

    def _on_training_start(self) -> None:
        self._note("training_start")
        self.total = self.locals["total_timesteps"]

    def _on_rollout_start(self) -> None:
        self._note("rollout_start")

    def _on_step(self) -> bool:
        self._note("step")
        self.seen.append(dict(self.locals))
        return True

    def _on_rollout_end(self) -> None:
        self._note("rollout_end")

    def _on_training_end(self) -> None:
        self._note("training_end")


class Segments(Tape):
    """The same without single steps."""

    per_step = False

    def __init__(self) -> None:
        super().__init__()
        self.infos: list[dict[str, Any]] = []

    def _on_rollout_end(self) -> None:
        self._note("rollout_end")
        self.infos.extend(self.locals["infos"])


LOCALS = ("new_obs", "actions", "clipped_actions", "rewards", "dones", "infos", "values", "log_probs")


@pytest.mark.parametrize("n_envs", [1, 3])
def test_one_worker_calls_back_in_a2cs_order_with_a2cs_counts(n_envs: int) -> None:
    def tape_of(cls: Any, **arguments: Any) -> Tape:
        tape = Tape()
        venv = DummyVecEnv([lambda: Counter(length=10**9)] * n_envs)
        cls("MlpPolicy", venv, n_steps=5, **arguments).learn(20 * n_envs, callback=tape)
        return tape

    ours, theirs = tape_of(agents.A3C, n_workers=1), tape_of(agents.A2C)
    assert ours.calls == theirs.calls
    assert ours.total == theirs.total == 20 * n_envs


@WORKERS
@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.Box(-0.1, 0.1, (2,), np.float32)])
@pytest.mark.parametrize("kwargs", [{}, {"activation_fn": nn.LeakyReLU}], ids=["numpy", "torch"])
def test_locals_are_a2cs_in_name_shape_and_meaning(n_workers: int, action_space: Any, kwargs: dict[str, Any]) -> None:
    def env() -> gym.Env:
        return RandomEnv(spaces.Box(-1, 1, (4,), np.float32), action_space)

    def seen_by(cls: Any, **arguments: Any) -> list[dict[str, Any]]:
        tape = Tape()
        venv = DummyVecEnv([env, env])
        cls("MlpPolicy", venv, n_steps=4, seed=0, policy_kwargs=dict(kwargs), **arguments).learn(40, callback=tape)
        return tape.seen

    theirs = seen_by(agents.A2C)[0]
    for ours in seen_by(agents.A3C, n_workers=n_workers):
        for name in LOCALS:
            assert np.shape(ours[name]) == np.shape(theirs[name]), name
            assert isinstance(ours[name], type(theirs[name])), name
        assert ours["total_timesteps"] == 40
        assert ours["self"].__class__ is agents.A3C
        if isinstance(action_space, spaces.Box):
            np.testing.assert_array_equal(ours["clipped_actions"], np.clip(ours["actions"], -0.1, 0.1))
        for info, done in zip(ours["infos"], ours["dones"], strict=True):
            assert ("terminal_observation" in info) == bool(done)
            assert "TimeLimit.truncated" in info


@WORKERS
def test_steps_of_one_worker_come_a_whole_segment_at_a_time_and_in_order(n_workers: int, tmp_path: Path) -> None:
    tape = Tape()
    env = Counter(length=7) if n_workers == 1 else Together(Counter(length=7), str(tmp_path))
    agents.A3C("MlpPolicy", env, n_workers=n_workers, n_steps=5).learn(100, callback=tape)
    names = [name for name, _ in tape.calls]
    assert (names[0], names[-1]) == ("training_start", "training_end")
    segments: list[list[dict[str, Any]]] = []
    seen = iter(tape.seen)
    for name in names[1:-1]:
        if name == "rollout_start":
            segments.append([])
        elif name == "step":
            segments[-1].append(next(seen))
    assert [name for name in names if name != "step"][1:-1] == ["rollout_start", "rollout_end"] * len(segments)
    assert [steps for name, steps in tape.calls if name == "step"] == list(range(1, 101))
    clocks = [-1] * n_workers
    for segment in segments:
        assert len({step["worker"] for step in segment}) == 1
        for step in segment:
            episode, t = step["new_obs"][0]
            ended = bool(step["dones"][0])
            assert ended == (t == 0)  # after the end: the next episode's first observation
            clock = int(episode) * 100 + int(t)
            assert clock > clocks[step["worker"]]
            clocks[step["worker"]] = clock
        assert [bool(step["dones"][0]) for step in segment[:-1]] == [False] * (len(segment) - 1)
    assert min(clocks) > 0  # every worker was heard


@WORKERS
def test_a_callback_that_looks_at_no_step_gets_whole_segments_and_all_episodes(n_workers: int) -> None:
    tape = Segments()
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=n_workers)
    model.learn(210, callback=tape)
    names = [name for name, _ in tape.calls]
    assert "step" not in names
    assert names == ["training_start", *["rollout_start", "rollout_end"] * (len(names) // 2 - 1), "training_end"]
    assert tape.calls[-1][1] == 210
    steps = [steps for _, steps in tape.calls]
    assert steps == sorted(steps)
    assert [info["episode"]["l"] for info in tape.infos] == [7] * len(model.ep_info_buffer)
    assert len(tape.infos) >= 28


def test_one_callback_that_looks_at_steps_is_enough() -> None:
    assert not looks_at_steps(Segments())
    assert not looks_at_steps(CallbackList([Segments(), Segments()]))
    assert looks_at_steps(CallbackList([Segments(), CallbackList([Tape()])]))
    assert looks_at_steps(EveryNTimesteps(10, Tape()))
    both = [Segments(), Tape()]
    agents.A3C("MlpPolicy", Counter(length=7), n_workers=2).learn(35, callback=both)
    assert [name for name, _ in both[1].calls].count("step") == 35


@WORKERS
def test_num_timesteps_counts_what_was_delivered_while_workers_are_ahead(n_workers: int) -> None:
    counted: list[int] = []

    def slowly(found: dict[str, Any], _: Any) -> bool:
        time.sleep(0.01)
        counted.append(found["self"].num_timesteps)
        return True

    agents.A3C("MlpPolicy", Counter, n_workers=n_workers).learn(40, callback=slowly)
    assert counted == list(range(1, 41))


class Memory(KVWriter):
    """What was logged, by step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.rows.append({**key_values, "step": step})

    def close(self) -> None:
        pass


def logged(model: Any, steps: int, log_interval: int | None) -> list[dict[str, Any]]:
    memory = Memory()
    model.set_logger(Logger(None, [memory]))
    model.learn(steps, log_interval=log_interval)
    return memory.rows


@WORKERS
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("kwargs", [{}, {"activation_fn": nn.LeakyReLU}], ids=["numpy", "torch"])
def test_the_logger_gets_a2cs_keys(n_workers: int, env: str, kwargs: dict[str, Any]) -> None:
    n_steps = 400
    theirs = logged(agents.A2C("MlpPolicy", env, policy_kwargs=dict(kwargs)), n_steps, 70)[-1]
    ours = logged(agents.A3C("MlpPolicy", env, n_workers=n_workers, policy_kwargs=dict(kwargs)), n_steps, 5)[-1]
    assert set(theirs) - set(ours) <= {"train/explained_variance"}  # left out where it is not a number
    assert set(ours) - set(theirs) <= {"train/policy_lag"}
    assert ours["time/total_timesteps"] <= n_steps
    assert ours["train/learning_rate"] == 7e-4


def test_the_logger_is_dumped_every_so_many_segments_or_never() -> None:
    env = Counter(length=10**9)
    rows = logged(agents.A3C("MlpPolicy", env, n_workers=1, n_steps=5), 100, 4)
    assert [row["step"] for row in rows] == [20, 40, 60, 80, 100]
    assert [row["time/iterations"] for row in rows] == [4, 8, 12, 16, 20]
    assert logged(agents.A3C("MlpPolicy", env, n_workers=1, n_steps=5), 100, None) == []


@WORKERS
def test_episode_statistics_are_monitors(n_workers: int) -> None:
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=n_workers, stats_window_size=3)
    model.learn(140)
    assert [(record["r"], record["l"]) for record in model.ep_info_buffer] == [(7.0, 7)] * 3


class Lucky(gym.Wrapper):
    """Every second episode is a success."""

    def step(self, action: Any) -> Any:
        *rest, info = self.env.step(action)
        return *rest, {**info, "is_success": self.env.unwrapped.episode % 2 == 0}


@WORKERS
@pytest.mark.parametrize("per_step", [True, False])
def test_success_rates_are_counted_once_an_episode(n_workers: int, per_step: bool) -> None:
    model = agents.A3C("MlpPolicy", lambda: Lucky(Counter(length=7)), n_workers=n_workers)
    model.learn(140, callback=Tape() if per_step else Segments())
    assert len(model.ep_success_buffer) == len(model.ep_info_buffer) in (18, 19, 20)
    assert 0.4 <= np.mean(model.ep_success_buffer) <= 0.6


@WORKERS
@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_the_progress_bar_ends_at_the_number_of_steps(n_workers: int, capsys: Any) -> None:
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=n_workers)
    model.learn(50, progress_bar=True)
    model.learn(30, progress_bar=True, reset_num_timesteps=False)
    shown = "".join(capsys.readouterr())
    assert "50/50" in shown
    assert "30/30" in shown


class Initialized(Tape):
    """Notes when it is initialized."""

    def _init_callback(self) -> None:
        self._note("init")


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_a_callback_beside_a_progress_bar_is_initialized_once(as_list: bool) -> None:
    callback = Initialized()
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=1)
    model.learn(10, callback=[callback] if as_list else callback, progress_bar=True)
    assert [name for name, _ in callback.calls].count("init") == 1
    assert callback.calls[-1] == ("training_end", 10)


@WORKERS
def test_sb3s_own_callbacks_work(n_workers: int, tmp_path: Path) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers, seed=0)
    stop = StopTrainingOnMaxEpisodes(max_episodes=3)
    checkpoints = CheckpointCallback(save_freq=25, save_path=str(tmp_path))
    model.learn(10**6, callback=[stop, checkpoints])
    assert stop.n_episodes == 3
    assert model.num_timesteps < 2000
    (first, *_) = sorted(tmp_path.iterdir())
    loaded = agents.A3C.load(first, env="CartPole-v1")
    assert loaded.num_timesteps == 25
    assert loaded.learn(10, reset_num_timesteps=False).num_timesteps == 35


@WORKERS
def test_stopping_on_a_reward_threshold_by_evaluation(n_workers: int) -> None:
    stop = StopTrainingOnRewardThreshold(reward_threshold=7.0)
    evaluation = EvalCallback(
        make_vec_env(Counter), callback_on_new_best=stop, eval_freq=20, n_eval_episodes=1, verbose=0
    )
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=n_workers)
    model.learn(10**6, callback=evaluation)
    assert evaluation.n_calls == 20
    assert evaluation.last_mean_reward == 7.0


@WORKERS
def test_tensorboard_gets_a_folder_a_run(n_workers: int, tmp_path: Path) -> None:
    model = agents.A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers, tensorboard_log=str(tmp_path))
    model.learn(20, log_interval=1)
    model.learn(20, log_interval=1, tb_log_name="named")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A3C_1", "named_1"]
    assert all(any(path.iterdir()) for path in tmp_path.iterdir())


def test_verbose_prints_a_table(capsys: Any) -> None:
    agents.A3C("MlpPolicy", "CartPole-v1", n_workers=1, verbose=1).learn(100, log_interval=10)
    shown = capsys.readouterr().out
    assert "ep_rew_mean" in shown
    assert "total_timesteps" in shown


class Paused(BaseCallback):
    """Looks at the model in a pause of the workers, and without one."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[tuple[int, int]] = []

    def _on_step(self) -> bool:
        if self.n_calls % 20 == 0:
            delivered = self.model.num_timesteps
            with self.model.paused():
                shown = self.model._flat.vector.clone()
                steps = self.model.num_timesteps
                time.sleep(0.05)
                if self.model._beside is not None:
                    assert self.model._beside.workers.budget.steps == steps
                    np.testing.assert_array_equal(self.model._beside.arrays["parameters"], shown.numpy())
            assert self.model.num_timesteps == delivered
            self.counts.append((delivered, steps))
        return True


@WORKERS
def test_a_callback_can_let_the_workers_stand_still(n_workers: int) -> None:
    paused = Paused()
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=n_workers)
    assert model.learn(200, callback=paused).num_timesteps == 200
    assert len(paused.counts) == 10
    for delivered, steps in paused.counts:
        assert delivered <= steps <= 200


class Sets(BaseCallback):
    """Sets attributes of the model at the end of each segment."""

    per_step = False

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.values = values

    def _on_rollout_end(self) -> None:
        for name, value in self.values.items():
            setattr(self.model, name, value)

    def _on_step(self) -> bool:
        return True


def no_rate(remaining: float) -> float:
    return 0.0


CHANGES: dict[str, Any] = {
    "learning_rate": 0.0,
    "lr_schedule": no_rate,
    "n_steps": 3,
    "gamma": 0.5,
    "max_grad_norm": None,
    "rms_prop_eps": 0.2,
    "rms_prop_alpha": 0.9,
    "shared_optimizer": "adam",
    "n_workers": 3,
}
OF_A3C = {"gae_lambda": 0.5, "ent_coef": 1.0, "vf_coef": 1.0}
OF_VALUES = {
    "target_update_interval": 3,
    "exploration_fraction": 0.5,
    "exploration_initial_eps": 0.5,
    "exploration_final_eps": 0.3,
}


@WORKERS
@pytest.mark.parametrize(("cls", "more"), [(agents.A3C, OF_A3C), (agents.AsyncSarsa, OF_VALUES)])
def test_what_a_callback_sets_too_late_for_the_workers_is_said_once(n_workers: int, cls: Any, more: Any) -> None:
    changes = CHANGES | more
    model = cls("MlpPolicy", Counter(length=7), n_workers=n_workers)
    with pytest.warns(UserWarning, match="the change takes effect at the next learn call") as warned:
        model.learn(100, callback=Sets(**changes))
    (warning,) = [str(each.message) for each in warned if "A callback has changed" in str(each.message)]
    for name in changes:
        assert f"{name}=" in warning  # with the value that goes on


@pytest.mark.filterwarnings("error")
def test_callbacks_that_set_nothing_or_begin_with_it_are_not_warned_of() -> None:
    class Begins(Tape):
        def _on_training_start(self) -> None:
            super()._on_training_start()
            self.model.ent_coef = 0.5

    for callback in (None, Sets(), Begins()):
        agents.A3C("MlpPolicy", Counter(length=7), n_workers=1).learn(50, callback=callback)


@WORKERS
@pytest.mark.parametrize("name", ["learning_rate", "lr_schedule"])
@pytest.mark.parametrize("first", [1e-3, lambda remaining: 1e-3 * remaining], ids=["constant", "schedule"])
@pytest.mark.filterwarnings("ignore:A callback has changed")
def test_another_rate_takes_effect_at_the_next_learn_call(n_workers: int, name: str, first: Any) -> None:
    model = agents.A3C("MlpPolicy", Counter(length=7), n_workers=n_workers, learning_rate=first)
    before = model._flat.vector.clone()
    model.learn(50, callback=Sets(**{name: no_rate}))
    learned = model._flat.vector.clone()
    assert (learned != before).any()
    model.learn(50, reset_num_timesteps=False)
    assert (model._flat.vector == learned).all()
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.0
