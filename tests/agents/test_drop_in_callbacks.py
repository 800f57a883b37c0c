"""Callbacks: SB3's own, functions, lists, their order and what they see, as SB3's tests ask of A2C and DQN."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv, IdentityEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import agents
from tests.agents.drop_in import both_kinds, each_method, one_and_two_workers, small
from tests.agents.toys import Counter, RandomEnv


class Tape(BaseCallback):
    """Notes every call in order, with the number of steps then."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def _note(self, name: str) -> None:
        self.calls.append((name, self.model.num_timesteps))

    def _on_training_start(self) -> None:
        self._note("training start")

    def _on_rollout_start(self) -> None:
        self._note("rollout start")

    def _on_step(self) -> bool:
        self._note("step")
        assert self.num_timesteps == self.model.num_timesteps
        return True

    def _on_rollout_end(self) -> None:
        self._note("rollout end")

    def _on_training_end(self) -> None:
        self._note("training end")


def endless(n_envs: int = 1) -> DummyVecEnv:
    space = spaces.Box(-1, 1, (2,), np.float32)
    return DummyVecEnv([lambda: RandomEnv(space, spaces.Discrete(2), terminate=0.0, truncate=0.0)] * n_envs)


@each_method
@pytest.mark.parametrize("n_envs", [1, 2])
def test_calls_come_in_the_order_and_at_the_steps_of_a2cs(cls: Any, n_envs: int) -> None:
    tapes = []
    for make in (cls, A2C):
        tape = Tape()
        arguments = {"n_workers": 1} if make is cls else {}
        make("MlpPolicy", endless(n_envs), n_steps=5, seed=0, **arguments).learn(15 * n_envs, callback=tape)
        tapes.append(tape.calls)
    assert tapes[0] == tapes[1]
    assert [name for name, _ in tapes[0]].count("step") == 15


@both_kinds
def test_two_workers_deliver_whole_segments_one_after_the_other(cls: Any) -> None:
    tape = Tape()
    small(cls, endless(), n_workers=2, n_steps=5).learn(60, callback=tape)
    names = [name for name, _ in tape.calls]
    segment = ["rollout start", *["step"] * 5, "rollout end"]
    assert names == ["training start", *segment * 12, "training end"]
    assert [steps for name, steps in tape.calls if name == "step"] == list(range(1, 61))


@each_method
@one_and_two_workers
def test_locals_hold_what_a2cs_hold(cls: Any, n_workers: int) -> None:
    seen: list[dict[str, Any]] = []

    def watch(found: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.append(dict(found))
        return True

    env = DummyVecEnv([lambda: Monitor(Counter(length=4, truncates=True))] * 2)
    model = small(cls, env, n_workers=n_workers, n_steps=3)
    model.learn(60, callback=watch)
    for found in seen:
        assert found["self"] is model
        assert found["total_timesteps"] == 60
        assert found["new_obs"].shape == (2, 2)
        assert found["actions"].shape == found["clipped_actions"].shape == (2,)
        assert found["rewards"].shape == found["dones"].shape == (2,)
        assert len(found["infos"]) == 2
        if cls is agents.A3C:
            assert found["values"].shape == (2, 1)
            assert found["log_probs"].shape == (2,)
            assert (found["log_probs"] < 0.0).all()
    # the number of the step in its episode is 0 where the observation is the next episode's first
    for found in seen:
        np.testing.assert_array_equal(found["new_obs"][:, 1] == 0, found["dones"])
        for done, info in zip(found["dones"], found["infos"], strict=True):
            assert ("terminal_observation" in info) == done
            assert info["TimeLimit.truncated"] == done
            if done:
                assert info["terminal_observation"][1] == 4
                assert info["episode"]["l"] == 4


@both_kinds
def test_the_training_start_tells_the_total_and_the_training_environment(cls: Any) -> None:
    found: dict[str, Any] = {}

    class Watch(BaseCallback):
        def _on_training_start(self) -> None:
            found.update(self.locals, training_env=self.training_env, logger=self.logger)

        def _on_step(self) -> bool:
            return True

    model = small(cls).learn(20, callback=Watch())
    assert found["total_timesteps"] == 20
    assert found["training_env"] is model.get_env()
    assert found["logger"] is model.logger
    model.learn(20, callback=Watch(), reset_num_timesteps=False)
    assert found["total_timesteps"] == 40


# SB3's own


@each_method
@one_and_two_workers
def test_sb3s_callbacks_run_together_alone_and_as_a_function(cls: Any, n_workers: int, tmp_path: Path) -> None:
    folder = str(tmp_path)
    checkpoint = CheckpointCallback(save_freq=60, save_path=folder)
    stop = StopTrainingOnRewardThreshold(reward_threshold=10_000, verbose=0)
    evaluate = EvalCallback(
        Monitor(gym.make("CartPole-v1")),
        callback_on_new_best=stop,
        callback_after_eval=StopTrainingOnNoModelImprovement(100, min_evals=1),
        best_model_save_path=folder,
        log_path=folder,
        eval_freq=50,
        n_eval_episodes=1,
        warn=False,
        verbose=0,
    )
    event = EveryNTimesteps(70, CheckpointCallback(save_freq=1, save_path=folder, name_prefix="event"))
    model = small(cls, n_workers=n_workers)
    model.learn(150, callback=CallbackList([checkpoint, evaluate, event, LogEveryNTimesteps(50)]))
    names = {path.name for path in tmp_path.iterdir()}
    assert {"rl_model_60_steps.zip", "rl_model_120_steps.zip", "best_model.zip", "evaluations.npz"} <= names
    assert {"event_70_steps.zip", "event_140_steps.zip"} <= names
    assert len(np.load(tmp_path / "evaluations.npz")["timesteps"]) == 3
    model.learn(30)
    model.learn(30, callback=[checkpoint, evaluate])
    assert model.learn(30, callback=lambda _locals, _globals: True).num_timesteps == 30


@both_kinds
@one_and_two_workers
def test_a_checkpoint_is_a_model_of_that_moment(cls: Any, n_workers: int, tmp_path: Path) -> None:
    checkpoint = CheckpointCallback(save_freq=100, save_path=str(tmp_path))
    model = small(cls, n_workers=n_workers).learn(200, callback=checkpoint)
    parameters = []
    for steps in (100, 200):
        loaded = cls.load(tmp_path / f"rl_model_{steps}_steps", env="CartPole-v1")
        assert loaded.num_timesteps == steps
        parameters.append(np.concatenate([p.detach().numpy().ravel() for p in loaded.policy.parameters()]))
        loaded.learn(20, reset_num_timesteps=False)
        assert loaded.num_timesteps == steps + 20
    assert (parameters[0] != parameters[1]).any()
    assert model.num_timesteps == 200


@both_kinds
@one_and_two_workers
def test_what_is_evaluated_is_what_is_saved_although_workers_go_on(cls: Any, n_workers: int, tmp_path: Path) -> None:
    during: list[np.ndarray] = []

    class Slowly(EvalCallback):
        """Workers go on for a while between evaluation and file."""

        def _on_step(self) -> bool:
            if self.n_calls == 50:
                during.append(vector_of(self.model))
                evaluate_policy(self.model, self.eval_env, n_eval_episodes=3)
                during.append(vector_of(self.model))
                self.model.save(tmp_path / "model")
            return True

    env = DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1"))])
    model = small(cls, n_workers=n_workers)
    model.learn(2000, callback=Slowly(env))
    np.testing.assert_array_equal(during[0], during[1])
    np.testing.assert_array_equal(vector_of(cls.load(tmp_path / "model")), during[0])
    assert (vector_of(model) != during[0]).any()


def vector_of(model: Any) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel().copy() for p in model.policy.parameters()])


@each_method
@one_and_two_workers
def test_training_stops_when_the_reward_threshold_is_reached(cls: Any, n_workers: int) -> None:
    stop = StopTrainingOnRewardThreshold(reward_threshold=-1.0, verbose=0)
    env = Monitor(IdentityEnv(ep_length=10))
    evaluate = EvalCallback(env, callback_on_new_best=stop, eval_freq=30, n_eval_episodes=1, verbose=0)
    model = small(cls, IdentityEnv(ep_length=10), n_workers=n_workers).learn(5000, callback=evaluate)
    assert 30 <= model.num_timesteps < 4000
    assert evaluate.n_calls == 30


@each_method
@one_and_two_workers
@pytest.mark.parametrize("n_envs", [1, 2])
def test_training_stops_after_so_many_episodes(cls: Any, n_workers: int, n_envs: int) -> None:
    stop = StopTrainingOnMaxEpisodes(max_episodes=3, verbose=0)
    env = DummyVecEnv([lambda: Monitor(Counter(length=4))] * n_envs)
    model = small(cls, env, n_workers=n_workers, n_steps=4)
    model.learn(10_000, callback=stop)
    assert stop.n_episodes == 3 * n_envs
    if n_workers == 1:
        assert model.num_timesteps == 12 * n_envs
    else:
        assert model.num_timesteps < 9_000  # the others end their segments


@both_kinds
def test_training_stops_where_the_model_does_not_improve(cls: Any) -> None:
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=2, min_evals=1, verbose=0)
    env = DummyVecEnv([lambda: Monitor(Counter(length=5))])  # every episode's return is 5
    evaluate = EvalCallback(env, callback_after_eval=stop, eval_freq=20, n_eval_episodes=1, verbose=0)
    model = small(cls, Counter(length=5)).learn(5000, callback=evaluate)
    assert model.num_timesteps == 80  # the first is the best; the second is within min_evals, then 2 without progress


@each_method
def test_success_rates_of_evaluations_are_logged(cls: Any, tmp_path: Path) -> None:
    env = BitFlippingEnv(n_bits=2, discrete_obs_space=True, max_steps=3)
    evaluate = EvalCallback(
        DummyVecEnv([lambda: Monitor(BitFlippingEnv(n_bits=2, discrete_obs_space=True, max_steps=3))]),
        eval_freq=50,
        n_eval_episodes=4,
        log_path=str(tmp_path),
        verbose=0,
        warn=False,
    )
    small(cls, env, "MultiInputPolicy").learn(100, callback=evaluate)
    with np.load(tmp_path / "evaluations.npz") as file:
        assert file["successes"].shape == (2, 4)
    assert len(evaluate._is_success_buffer) == 4


@both_kinds
@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
def test_an_evaluation_environment_that_is_not_normalized_alike_is_an_error(cls: Any) -> None:
    env = VecNormalize(make_vec_env("CartPole-v1"))
    evaluate = EvalCallback(make_vec_env("CartPole-v1"), eval_freq=10, warn=False, verbose=0)
    with pytest.raises(AssertionError, match="training env not being wrapped the same way as the evaluation env"):
        small(cls, env).learn(60, callback=evaluate)


# stopping, and many callbacks


@each_method
@one_and_two_workers
def test_a_function_that_answers_false_stops_at_once(cls: Any, n_workers: int) -> None:
    calls = []

    def stop(found: dict[str, Any], _: dict[str, Any]) -> bool:
        calls.append(found["self"].num_timesteps)
        return len(calls) < 8

    model = small(cls, endless(), n_workers=n_workers)
    model.learn(100_000, callback=stop)
    assert calls == list(range(1, 9))
    if n_workers == 1:
        assert model.num_timesteps == 10  # the segment of the eighth step is whole
    assert model.num_timesteps < 90_000
    assert model.learn(20).num_timesteps == 20


@both_kinds
def test_the_end_of_training_is_called_also_after_a_stop(cls: Any) -> None:
    tape = Tape()
    small(cls, endless()).learn(1000, callback=[tape, StopAfter(7)])
    assert tape.calls[-1][0] == "training end"
    assert [name for name, _ in tape.calls].count("step") == 7


class StopAfter(BaseCallback):
    """Answers False at a step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.n_calls < self.steps


def test_callbacks_may_change_the_model_of_one_worker_in_between() -> None:
    """A2C's users set learning_rate, ent_coef or parameters from callbacks; with one worker parameters are live."""

    class Zero(BaseCallback):
        def _on_rollout_end(self) -> None:
            for parameter in self.model.policy.parameters():
                parameter.data.zero_()

        def _on_step(self) -> bool:
            return True

    model = small(agents.A3C, endless(), learning_rate=0.0).learn(20, callback=Zero())
    assert not vector_of(model).any()
