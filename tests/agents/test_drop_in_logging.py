"""The logger, TensorBoard, Monitor, windows of statistics and what is printed, as SB3's tests ask of A2C and DQN."""

import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.callbacks import BaseCallback, LogEveryNTimesteps, ProgressBarCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.logger import (
    CSVOutputFormat,
    HParam,
    HumanOutputFormat,
    Logger,
    TensorBoardOutputFormat,
    configure,
)
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import agents
from tests.agents.drop_in import both_kinds, each_method, each_value_method, one_and_two_workers, small
from tests.agents.toys import Counter


class Memory(Logger):
    """Keeps everything that was dumped, and when."""

    def __init__(self) -> None:
        super().__init__("", [])
        self.dumps: list[tuple[int, dict[str, Any]]] = []

    def dump(self, step: int = 0) -> None:
        self.dumps.append((step, dict(self.name_to_value)))
        super().dump(step)

    @property
    def keys(self) -> set[str]:
        return {key for _, values in self.dumps for key in values}


def logged(model: Any, total: int, **arguments: Any) -> Memory:
    memory = Memory()
    model.set_logger(memory)
    model.learn(total, **arguments)
    return memory


@one_and_two_workers
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a3c_logs_under_a2cs_keys(n_workers: int, env: str) -> None:
    expected = logged(A2C("MlpPolicy", env, seed=0), 450, log_interval=50).keys
    found = logged(small(agents.A3C, env, n_workers=n_workers), 450, log_interval=10).keys
    assert found - {"train/policy_lag"} == expected
    assert "train/std" in found or env == "CartPole-v1"


@each_value_method
@one_and_two_workers
def test_value_methods_log_under_dqns_keys(cls: Any, n_workers: int) -> None:
    dqn = DQN("MlpPolicy", "CartPole-v1", learning_starts=10, buffer_size=100, seed=0)
    expected = logged(dqn, 200, log_interval=1).keys
    found = logged(small(cls, n_workers=n_workers), 200, log_interval=5).keys
    assert found - {"train/policy_lag"} == expected | {"time/iterations"}


@each_method
@one_and_two_workers
def test_what_is_logged_is_true(cls: Any, n_workers: int) -> None:
    env = DummyVecEnv([lambda: Monitor(Counter(length=4))])
    memory = logged(small(cls, env, n_workers=n_workers, learning_rate=lambda p: 1e-2 * p), 200, log_interval=10)
    # several workers without a callback report what has come together since their last report
    assert len(memory.dumps) >= (4 if n_workers == 1 else 1)
    for step, values in memory.dumps:
        assert values["time/total_timesteps"] == step
        assert values["rollout/ep_len_mean"] == values["rollout/ep_rew_mean"] == 4.0
        assert values["train/learning_rate"] == pytest.approx(1e-2 * (1 - step / 200))
        assert values["train/n_updates"] == values["time/iterations"]
        if "time/episodes" in values:
            assert step // 4 - n_workers < values["time/episodes"] <= step // 4
    iterations = [values["time/iterations"] for _, values in memory.dumps]
    assert iterations == sorted(iterations)
    if n_workers == 1:
        assert iterations == list(range(10, iterations[-1] + 1, 10))


@both_kinds
def test_the_number_of_updates_and_episodes_goes_on_where_learning_goes_on(cls: Any) -> None:
    model = small(cls, DummyVecEnv([lambda: Monitor(Counter(length=5))]))
    first = logged(model, 50, log_interval=1).dumps[-1][1]
    second = logged(model, 50, log_interval=1, reset_num_timesteps=False).dumps[-1][1]
    assert (first["train/n_updates"], second["train/n_updates"]) == (10, 20)
    assert second["time/iterations"] == 10
    assert second["time/total_timesteps"] == 100
    if cls is not agents.A3C:
        assert (first["time/episodes"], second["time/episodes"]) == (10, 20)
        assert logged(model, 50, log_interval=1).dumps[-1][1]["time/episodes"] == 10


@each_method
@one_and_two_workers
def test_a_callback_may_have_the_logger_dumped(cls: Any, n_workers: int) -> None:
    memory = logged(small(cls, n_workers=n_workers), 200, callback=LogEveryNTimesteps(60), log_interval=None)
    assert [step for step, _ in memory.dumps] == [60, 120, 180]
    loss = "train/policy_loss" if cls is agents.A3C else "train/loss"
    for step, values in memory.dumps:
        assert np.isfinite(values[loss])
        assert values["time/total_timesteps"] == step


@both_kinds
def test_the_logger_may_be_dumped_after_learning(cls: Any) -> None:
    model = small(cls)
    memory = logged(model, 100, log_interval=None)
    assert not memory.dumps
    model.dump_logs()
    assert memory.dumps[0][0] == 100
    assert memory.dumps[0][1]["time/total_timesteps"] == 100
    # the numbers of a segment long gone are not shown again
    assert not {"train/policy_loss", "train/loss"} & set(memory.dumps[0][1])


@both_kinds
def test_a_callback_may_log_numbers_of_its_own(cls: Any) -> None:
    class Own(BaseCallback):
        def _on_step(self) -> bool:
            self.logger.record("own/number", self.num_timesteps)
            return True

    memory = logged(small(cls), 60, callback=Own(), log_interval=1)
    assert memory.dumps[0][1]["own/number"] == memory.dumps[0][0]


class Slow(gym.Env):
    """Each step takes at least a millisecond, and is an episode."""

    observation_space = spaces.Box(-20, 20, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: int) -> Any:
        time.sleep(0.001)
        return self.observation_space.sample(), 0.0, True, False, {}


@both_kinds
@one_and_two_workers
def test_the_speed_logged_is_the_present_calls_and_not_that_of_all_steps(cls: Any, n_workers: int) -> None:
    model = small(cls, Slow(), n_workers=n_workers)
    most = 1000 * n_workers  # a sleep is never shorter
    for reset in (True, False):
        memory = logged(model, 50, log_interval=1, reset_num_timesteps=reset)
        assert 0 < memory.dumps[-1][1]["time/fps"] <= most
        model.num_timesteps = 20_000  # steps of earlier calls must not count


@both_kinds
@one_and_two_workers
def test_a_clock_that_stands_still_is_no_division_by_zero(cls: Any, n_workers: int) -> None:
    with mock.patch("time.time", return_value=42.0), mock.patch("time.time_ns", return_value=42.0):
        model = small(cls, n_workers=n_workers)
        memory = logged(model, 100, log_interval=1)
    assert memory.dumps[-1][1]["time/fps"] > 0


# where it goes


@both_kinds
def test_outputs_follow_verbose_tensorboard_log_and_set_logger(
    cls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert small(cls).learn(4).logger.output_formats == []
    model = small(cls, tensorboard_log=str(tmp_path / "boards")).learn(4)
    assert str(tmp_path / "boards") in model.logger.dir
    assert isinstance(model.logger.output_formats[0], TensorBoardOutputFormat)
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "elsewhere"))
    assert small(cls).learn(4).logger.dir == str(tmp_path / "elsewhere")
    monkeypatch.delenv("SB3_LOGDIR")
    model = small(cls, verbose=1, tensorboard_log=str(tmp_path / "boards")).learn(4)
    kinds = [type(output) for output in model.logger.output_formats]
    assert kinds == [HumanOutputFormat, TensorBoardOutputFormat]
    own = configure(str(tmp_path / "own"), ["stdout", "csv", "tensorboard"])
    model.set_logger(own)
    model.learn(32)
    assert model.logger is own
    assert [type(o) for o in own.output_formats] == [HumanOutputFormat, CSVOutputFormat, TensorBoardOutputFormat]


@both_kinds
def test_files_of_every_format_hold_the_numbers(cls: Any, tmp_path: Path) -> None:
    model = small(cls)
    model.set_logger(configure(str(tmp_path), ["csv", "json", "log"]))
    model.learn(100, log_interval=5)
    model.logger.close()
    table = pd.read_csv(tmp_path / "progress.csv")
    records = pd.read_json(tmp_path / "progress.json", lines=True)
    assert list(table["time/total_timesteps"]) == list(records["time/total_timesteps"])
    assert (table["train/n_updates"] == table["time/iterations"]).all()
    assert "total_timesteps" in (tmp_path / "log.txt").read_text()


@both_kinds
@one_and_two_workers
def test_verbose_prints_a_table_and_silence_nothing(cls: Any, n_workers: int, capfd: Any) -> None:
    small(cls, n_workers=n_workers).learn(60, log_interval=4)
    assert capfd.readouterr().out == ""
    small(cls, n_workers=n_workers, verbose=1).learn(60, log_interval=4)
    printed = capfd.readouterr().out
    assert "Using cpu device" in printed
    assert "Wrapping the env" in printed
    assert "total_timesteps" in printed


@each_method
def test_tensorboard_folders_count_up_and_going_on_goes_on_in_the_same(cls: Any, tmp_path: Path) -> None:
    model = small(cls, tensorboard_log=str(tmp_path))
    model.learn(40)
    model.learn(40, reset_num_timesteps=False)
    name = cls.__name__
    assert sorted(os.listdir(tmp_path)) == [f"{name}_1"]
    for _ in range(2):
        model.learn(20, tb_log_name="mine")
    assert sorted(os.listdir(tmp_path)) == sorted([f"{name}_1", "mine_1", "mine_2"])


@both_kinds
@one_and_two_workers
def test_tensorboard_gets_the_keys_that_a2c_gives_it(cls: Any, n_workers: int, tmp_path: Path) -> None:
    class Parameters(BaseCallback):
        """As in SB3's documentation."""

        def _on_training_start(self) -> None:
            settings = {"algorithm": type(self.model).__name__, "gamma": self.model.gamma}
            self.logger.record("hparams", HParam(settings, {"rollout/ep_len_mean": 0}), exclude=("stdout", "csv"))

        def _on_step(self) -> bool:
            return True

    model = small(cls, n_workers=n_workers, tensorboard_log=tmp_path)  # a Path will do
    model.learn(300, log_interval=10, callback=Parameters())
    events = EventAccumulator(str(tmp_path / f"{cls.__name__}_1"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    expected = {"rollout/ep_len_mean", "rollout/ep_rew_mean", "time/fps", "train/learning_rate"}
    assert expected | {"train/policy_loss" if cls is agents.A3C else "train/loss"} <= tags
    assert not {"time/iterations", "time/time_elapsed", "time/total_timesteps", "train/n_updates"} & tags
    steps = [event.step for event in events.Scalars("time/fps")]
    assert steps == sorted(steps)
    assert 0 < steps[0] <= steps[-1] <= 300


# progress bar


@both_kinds
@one_and_two_workers
@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
def test_the_progress_bar_counts_this_calls_steps(cls: Any, n_workers: int) -> None:
    model = small(cls, n_workers=n_workers)
    bars = []

    def note(self: ProgressBarCallback) -> None:
        bars.append((self.pbar.total, self.pbar.n))
        self.pbar.close()

    with mock.patch.object(ProgressBarCallback, "_on_training_end", note):
        model.learn(60, progress_bar=True)
        model.learn(40, progress_bar=True, reset_num_timesteps=False)
        model.learn(30, callback=ProgressBarCallback())
        model.learn(30, callback=lambda _locals, _globals: True, progress_bar=True)
    assert bars == [(60, 60), (40, 40), (30, 30), (30, 30)]


# Monitor and the windows of statistics


@each_method
@one_and_two_workers
def test_the_window_of_statistics_has_the_length_asked_for(cls: Any, n_workers: int) -> None:
    model = small(cls, Counter(length=2), n_workers=n_workers, stats_window_size=7).learn(40)
    assert model.ep_info_buffer.maxlen == model.ep_success_buffer.maxlen == 7
    assert len(model.ep_info_buffer) == 7
    assert {record["l"] for record in model.ep_info_buffer} == {2}


@both_kinds
@one_and_two_workers
@pytest.mark.parametrize("watch", [False, True], ids=["no callback", "callback"])
def test_every_episode_is_counted_once(cls: Any, n_workers: int, watch: bool) -> None:
    callback = (lambda _locals, _globals: True) if watch else None
    model = small(cls, Counter(length=2), n_workers=n_workers, stats_window_size=1000)
    model.learn(100, callback=callback)
    # with two workers the last episode of one may be unfinished
    assert 50 - (n_workers - 1) <= len(model.ep_info_buffer) <= 50


@each_method
@one_and_two_workers
def test_success_rates_are_logged(cls: Any, n_workers: int) -> None:
    env = BitFlippingEnv(n_bits=1, max_steps=2)
    memory = logged(small(cls, env, "MultiInputPolicy", n_workers=n_workers), 100, log_interval=10)
    assert 0.0 <= memory.dumps[-1][1]["rollout/success_rate"] <= 1.0


@both_kinds
@one_and_two_workers
def test_monitor_files_hold_every_episode(cls: Any, n_workers: int, tmp_path: Path) -> None:
    env = make_vec_env(Counter, 2, monitor_dir=str(tmp_path), env_kwargs={"length": 3})
    model = small(cls, env, n_workers=n_workers, stats_window_size=1000).learn(120)
    env.close()
    table = load_results(str(tmp_path))
    assert len(table) == len(model.ep_info_buffer) >= 36
    assert set(table["l"]) == {3}


@both_kinds
@one_and_two_workers
def test_a_vector_monitor_counts_as_well(cls: Any, n_workers: int) -> None:
    env = VecMonitor(DummyVecEnv([lambda: Counter(length=3)] * 2))
    model = small(cls, env, n_workers=n_workers).learn(60)
    assert len(model.ep_info_buffer) >= 16
    assert {record["r"] for record in model.ep_info_buffer} == {3.0}


@both_kinds
def test_an_environment_without_a_monitor_gets_one(cls: Any) -> None:
    model = small(cls, Counter())
    assert model.get_env().env_is_wrapped(Monitor) == [True]
    monitored = Monitor(Counter())
    assert small(cls, monitored).get_env().envs[0] is monitored
