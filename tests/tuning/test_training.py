"""Training runs: what they leave in their folder, however they end."""

import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

import agents
from tuning import callback as callback_module
from tuning import training
from tuning.config import resolve
from tuning.errors import TrainingFailed, UsageError
from tuning.evaluation import EpisodeResult, Evaluator
from tuning.runs import find_runs
from tuning.training import resume, train

# n_steps times n_envs divides everything below, so that runs end where they should
TINY_PPO = {"n_steps": 16, "n_envs": 2, "batch_size": 16, "n_epochs": 1}
TINY_SAC = {"learning_starts": 10, "buffer_size": 500, "batch_size": 8, "policy_kwargs": {"net_arch": [8]}}


def tiny(runs_dir, algo="ppo", env="CartPole-v1", **settings):
    """A run of a few steps."""
    hyperparams = {"ppo": TINY_PPO, "sac": TINY_SAC}.get(algo, {}) | settings.pop("hyperparams", {})
    defaults = {"n_timesteps": 128, "eval_freq": 64, "eval_episodes": 2, "progress": False}
    return train(algo, env, runs_dir=runs_dir, hyperparams=hyperparams, **(defaults | settings))


def parameters(run, which="final"):
    policy = agents.load(run.model_path(which)).policy
    return np.concatenate([value.detach().numpy().ravel() for value in policy.parameters()])


class At(BaseCallback):
    """Does something once, at a step."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action = step, action

    def _on_step(self):
        if self.num_timesteps == self.step:
            self.action()
        return True


def interrupt():
    raise KeyboardInterrupt


def fail():
    raise RuntimeError("the simulator exploded")


def test_a_finished_run_has_everything(tmp_path):
    run = tiny(tmp_path, seed=5)
    assert run.path.parent == tmp_path / "ppo" / "CartPole-v1"
    assert sorted(path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()) == [
        "config.yml",
        "episodes.csv",
        "evaluations.csv",
        "models/best.zip",
        "models/final.zip",
        "run.json",
        "status.json",
    ]
    status = run.status
    assert (status["status"], status["num_timesteps"], status["error"]) == ("finished", 128, None)
    assert status["train_seconds"] > 0
    assert status["steps_per_second"] == pytest.approx(128 / status["train_seconds"], rel=1e-3)
    assert run.read()["seed"] == 5
    assert run.read()["reward_threshold"] == 475.0
    assert resolve(config=run.config_path).seed == 5
    assert agents.load(run.model_path("final")).num_timesteps == 128
    assert find_runs(tmp_path) == [run]


def test_evaluations_come_at_regular_steps_and_at_the_end(tmp_path):
    evaluations = tiny(tmp_path, n_timesteps=160, eval_freq=64).evaluations()
    assert list(evaluations["num_timesteps"]) == [64, 64, 128, 128, 160, 160]
    assert list(evaluations["episode"]) == [0, 1] * 3
    assert not evaluations["sampled"].any()
    assert (evaluations["return"] == evaluations["length"]).all(), "CartPole gives 1 a step"


def test_an_evaluation_that_falls_on_the_end_is_done_once(tmp_path):
    assert list(tiny(tmp_path, n_timesteps=128, eval_freq=64).evaluations()["num_timesteps"]) == [64, 64, 128, 128]


def test_evaluations_with_sampled_actions_are_marked(tmp_path):
    evaluations = tiny(tmp_path, eval_sampled=True, eval_freq=128).evaluations()
    assert list(evaluations["sampled"]) == [False, False, True, True]


def test_training_episodes_are_those_that_monitor_saw(tmp_path):
    run = tiny(tmp_path, hyperparams={"n_envs": 1, "reward_scale": 0.01, "normalize.reward": True})
    episodes = run.episodes()
    assert len(episodes) > 2
    assert (episodes["return"] == episodes["length"]).all(), "neither scaled nor normalized"
    # with one environment, episodes follow each other without gaps
    assert list(episodes["num_timesteps"]) == list(episodes["length"].cumsum())
    assert episodes["train_seconds"].is_monotonic_increasing


def test_an_algorithm_that_shows_no_steps_has_its_episodes_recorded(tmp_path):
    hyperparams = {"n_delta": 2, "n_eval_episodes": 1}
    run = tiny(tmp_path, "ars", n_timesteps=100, eval_freq=1000, hyperparams=hyperparams)
    episodes = run.episodes()
    assert episodes["length"].sum() == run.status["num_timesteps"]
    assert (episodes["return"] == episodes["length"]).all()


@pytest.mark.parametrize(("algo", "env"), [("ppo", "CartPole-v1"), ("sac", "Pendulum-v1")])
def test_the_same_seed_gives_identical_runs_and_another_seed_another(tmp_path, algo, env):
    first, again, other = (tiny(tmp_path, algo, env, seed=seed, n_timesteps=64, eval_freq=32) for seed in (1, 1, 2))
    columns = ["num_timesteps", "episode", "return", "length"]
    assert first.evaluations()[columns].equals(again.evaluations()[columns])
    assert not first.evaluations()[columns].equals(other.evaluations()[columns])
    np.testing.assert_array_equal(parameters(first), parameters(again))
    assert not np.array_equal(parameters(first), parameters(other))


@pytest.mark.parametrize(("algo", "env"), [("ppo", "CartPole-v1"), ("sac", "Pendulum-v1"), ("a2c", "CartPole-v1")])
def test_evaluating_does_not_touch_training(tmp_path, algo, env):
    # sampled actions draw from torch's global stream, which training shares; statistics must not move either
    normalize = {"normalize.observation": True}
    often = tiny(tmp_path, algo, env, n_timesteps=64, eval_freq=8, eval_sampled=True, hyperparams=normalize)
    never = tiny(tmp_path, algo, env, n_timesteps=64, eval_freq=1000, hyperparams=normalize)
    np.testing.assert_array_equal(parameters(often), parameters(never))
    of_both = [agents.load(run.model_path("final"), env=env).get_vec_normalize_env().obs_rms for run in (often, never)]
    np.testing.assert_array_equal(of_both[0].mean, of_both[1].mean)
    assert of_both[0].count == of_both[1].count


def test_evaluation_time_is_not_training_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tuning.stopwatch.time.perf_counter", lambda: now[0])

    def slow_evaluation(self, model, deterministic=True):
        now[0] += 1000.0
        return real(self, model, deterministic)

    def tick():
        now[0] += 1.0

    class Ticking(BaseCallback):
        def _on_step(self):
            tick()
            return True

    real = Evaluator.__call__
    monkeypatch.setattr(Evaluator, "__call__", slow_evaluation)
    run = tiny(tmp_path, callback=Ticking())
    # 64 vector steps of one second each; the clock was frozen while the model was built and evaluated
    assert run.status["train_seconds"] == pytest.approx(64.0, abs=1.0)


@pytest.fixture
def script_scores(monkeypatch):
    """A function that lets evaluations answer these scores, one after the other."""

    def script(*scores):
        answers = iter(scores)
        monkeypatch.setattr(
            Evaluator, "__call__", lambda self, model, deterministic=True: [EpisodeResult(next(answers), 1)]
        )

    return script


def test_the_best_model_is_the_one_of_the_best_evaluation(tmp_path, script_scores):
    script_scores(3.0, 7.0, 5.0, 7.0)
    run = tiny(tmp_path, n_timesteps=128, eval_freq=32)
    assert agents.load(run.model_path("best")).num_timesteps == 64, "the first of equals"


def test_best_and_final_model_carry_the_statistics_of_their_own_moment(tmp_path, script_scores):
    script_scores(5.0, 1.0)
    run = tiny(tmp_path, hyperparams={"n_envs": 1, "normalize.observation": True})
    counts = {
        which: agents.load(run.model_path(which), env="CartPole-v1").get_vec_normalize_env().obs_rms.count
        for which in ("best", "final")
    }
    # one observation a step, one of the first reset, and SB3's prior of 1e-4; the later resets replace observations
    assert counts["best"] == pytest.approx(64 + 1 + 1e-4)
    assert counts["final"] == pytest.approx(128 + 1 + 1e-4)


def test_threads_are_set_for_the_run_and_restored(tmp_path):
    before = torch.get_num_threads()
    seen = []
    torch.set_num_threads(2)
    try:
        tiny(tmp_path, callback=At(64, lambda: seen.append(torch.get_num_threads())))
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_interrupted_run_keeps_its_model_and_can_be_continued(tmp_path):
    with pytest.raises(KeyboardInterrupt, match="interrupted after 96 steps; to continue: actorzoo resume"):
        tiny(tmp_path, n_timesteps=160, callback=At(96, interrupt))
    (run,) = find_runs(tmp_path)
    status = run.status
    assert (status["status"], status["num_timesteps"], status["error"]) == ("interrupted", 96, None)
    assert agents.load(run.model_path("last")).num_timesteps == 96
    assert list(run.evaluations()["num_timesteps"].unique()) == [64]

    assert resume(run.path, progress=False) == run
    assert (run.status["status"], run.status["num_timesteps"]) == ("finished", 160)
    assert run.status["train_seconds"] > status["train_seconds"]
    assert list(run.evaluations()["num_timesteps"]) == [64, 64, 128, 128, 160, 160]
    assert run.episodes()["num_timesteps"].is_monotonic_increasing
    assert run.episodes()["num_timesteps"].max() <= 160
    assert agents.load(run.model_path("final")).num_timesteps == 160
    assert not (run.path / "models" / "last.zip").exists()


def test_a_resumed_run_goes_on_learning_with_its_schedule_and_statistics(tmp_path):
    settings = {"hyperparams": {"n_envs": 1, "normalize.observation": True, "normalize.reward": True}}
    settings["hyperparams"]["learning_rate"] = {"schedule": "linear", "initial": 0.01}
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, n_timesteps=128, callback=At(64, interrupt), **settings)
    (run,) = find_runs(tmp_path)
    at_interruption = parameters(run, "last")
    rates = []

    class Watching(BaseCallback):
        def _on_rollout_start(self):
            rates.append(self.model.lr_schedule(self.model._current_progress_remaining))
            environment = self.model.get_vec_normalize_env()
            assert environment.training
            assert environment.norm_reward

        def _on_step(self):
            return True

    resume(run.path, progress=False, callback=Watching())
    assert rates[-1] < 0.01 * (1 - 64 / 128) + 1e-9, "the second half of the schedule"
    assert not np.array_equal(parameters(run), at_interruption)
    count = agents.load(run.model_path("final"), env="CartPole-v1").get_vec_normalize_env().obs_rms.count
    assert count == pytest.approx(128 + 2 + 1e-4), "all steps, and one reset more"


def test_a_resumed_run_does_not_repeat_the_episodes_of_its_beginning(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, n_timesteps=64, eval_freq=32, callback=At(32, interrupt), hyperparams={"n_envs": 1})
    (run,) = find_runs(tmp_path)
    starts = []

    class FirstObservation(BaseCallback):
        def _on_training_start(self):
            starts.append(self.model._last_obs.copy())

        def _on_step(self):
            return True

    resume(run.path, progress=False, callback=FirstObservation())
    tiny(tmp_path, n_timesteps=32, eval_freq=32, callback=FirstObservation(), hyperparams={"n_envs": 1})
    assert not np.array_equal(starts[0], starts[1])


def test_a_replay_buffer_survives_an_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, "sac", "Pendulum-v1", n_timesteps=60, eval_freq=20, callback=At(50, interrupt))
    (run,) = find_runs(tmp_path)
    assert (run.path / "models" / "replay_buffer.pkl").is_file()
    sizes = []

    class BufferSize(BaseCallback):
        def _on_training_start(self):
            sizes.append(self.model.replay_buffer.size())

        def _on_step(self):
            return True

    resume(run.path, progress=False, callback=BufferSize())
    # SB3 adds a transition after the callback for its step, so the one at which it was interrupted is not there
    assert sizes == [49]
    assert not (run.path / "models" / "replay_buffer.pkl").exists()


def test_a_large_replay_buffer_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(callback_module, "MAX_REPLAY_BUFFER_BYTES", 1000)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, "sac", "Pendulum-v1", n_timesteps=60, eval_freq=20, callback=At(50, interrupt))
    (run,) = find_runs(tmp_path)
    assert sorted(path.name for path in (run.path / "models").iterdir()) == ["best.zip", "last.zip"]
    assert resume(run.path, progress=False).status["status"] == "finished"


def test_a_failed_run_says_why_and_continues_from_its_last_evaluation(tmp_path):
    with pytest.raises(
        TrainingFailed, match="ppo on CartPole-v1 failed after 100 steps: RuntimeError: the sim"
    ) as error:
        tiny(tmp_path, n_timesteps=128, callback=At(100, fail))
    assert isinstance(error.value.__cause__, RuntimeError)
    assert "\n" not in str(error.value)
    (run,) = find_runs(tmp_path)
    status = run.status
    assert (status["status"], status["num_timesteps"]) == ("failed", 100)
    assert status["error_line"] == "RuntimeError: the simulator exploded"
    assert "in fail" in status["error"], "the traceback"
    assert status["checkpoint"]["num_timesteps"] == 64
    assert run.episodes()["num_timesteps"].max() > 64

    starts = []
    watch = At(66, lambda: starts.append(run.episodes()["num_timesteps"].max()))
    resume(run.path, progress=False, callback=watch)
    assert run.status["status"] == "finished"
    assert starts[0] <= 66, "what came after the checkpoint was dropped"
    assert list(run.evaluations()["num_timesteps"]) == [64, 64, 128, 128]


def test_a_run_that_failed_before_its_first_checkpoint_begins_anew(tmp_path):
    with pytest.raises(TrainingFailed):
        tiny(tmp_path, callback=At(32, fail))
    (run,) = find_runs(tmp_path)
    assert run.status["checkpoint"] is None
    resume(run.path, progress=False)
    assert run.status["num_timesteps"] == 128
    whole = tiny(tmp_path)
    np.testing.assert_array_equal(parameters(run), parameters(whole))


def test_the_best_score_of_before_counts_in_a_resumed_run(tmp_path, script_scores):
    script_scores(9.0, 1.0, 2.0)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, n_timesteps=192, callback=At(96, interrupt))
    (run,) = find_runs(tmp_path)
    resume(run.path, progress=False)
    assert agents.load(run.model_path("best")).num_timesteps == 64


def test_sigterm_interrupts_like_ctrl_c(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 64 steps"):
        tiny(tmp_path, callback=At(64, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    (run,) = find_runs(tmp_path)
    assert run.status["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_while_the_model_is_being_saved_does_not_lose_it(tmp_path, monkeypatch):
    def interrupted_save(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        real(*arguments)

    real = callback_module.save_replay_buffer
    monkeypatch.setattr(callback_module, "save_replay_buffer", interrupted_save)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, eval_freq=1000, callback=At(64, interrupt))
    (run,) = find_runs(tmp_path)
    assert run.status["status"] == "interrupted"
    assert run.status["checkpoint"]["num_timesteps"] == 64
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_or_running_run_is_not_resumed(tmp_path):
    run = tiny(tmp_path)
    with pytest.raises(UsageError, match="is finished"):
        resume(run.path)

    def look():
        (running,) = find_runs(tmp_path / "other")
        with pytest.raises(UsageError, match="is still running as process"):
            resume(running.path)

    tiny(tmp_path / "other", callback=At(64, look))


def test_a_callback_may_end_training_early(tmp_path):
    class Stop(BaseCallback):
        def _on_step(self):
            return self.num_timesteps < 40

    run = tiny(tmp_path, callback=Stop())
    assert (run.status["status"], run.status["num_timesteps"]) == ("finished", 40)
    assert list(run.evaluations()["num_timesteps"]) == [40, 40]


@pytest.mark.parametrize(
    ("hyperparams", "message"),
    [
        ({"batch_size": 1}, "PPO refuses its arguments: AssertionError"),
        ({"policy_kwargs": {"net_arch": "wide"}}, "PPO refuses its arguments: "),
        ({"n_step": 3}, "no hyperparameter 'n_step'"),
    ],
)
def test_nothing_is_written_when_the_arguments_are_wrong(tmp_path, hyperparams, message):
    with pytest.raises(UsageError, match=message):
        tiny(tmp_path / "runs", hyperparams=hyperparams)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_checkpoint_is_a_usage_error_and_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, callback=At(64, interrupt))
    (run,) = find_runs(tmp_path)
    run.model_path("last").write_bytes(b"PK damaged")
    with pytest.raises(UsageError, match=r"last\.zip .*To begin anew, remove"):
        resume(run.path)
    assert run.status["status"] == "interrupted"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_asynchronous_algorithms_train_into_the_same_folders(tmp_path, n_workers):
    hyperparams = {"n_workers": n_workers, "n_steps": 5}
    run = tiny(tmp_path, "a3c", n_timesteps=400, eval_freq=200, hyperparams=hyperparams)
    assert (run.status["status"], run.status["num_timesteps"]) == ("finished", 400)
    evaluations = run.evaluations()
    assert list(evaluations["num_timesteps"])[-2:] == [400, 400]
    assert evaluations["num_timesteps"].is_monotonic_increasing
    episodes = run.episodes()
    assert 0 < episodes["length"].sum() <= 400
    assert len(episodes) == len(episodes[episodes["return"] == episodes["length"]])
    assert agents.load(run.model_path("final")).num_timesteps == 400


def test_one_asynchronous_worker_gives_evaluations_at_regular_steps_and_repeats_to_the_bit(tmp_path):
    hyperparams = {"n_workers": 1, "n_steps": 5}
    first, again = (tiny(tmp_path, "a3c", n_timesteps=200, eval_freq=50, hyperparams=hyperparams) for _ in range(2))
    steps = list(first.evaluations()["num_timesteps"].unique())
    assert len(steps) == 4
    assert all(due <= step < due + 5 for step, due in zip(steps, (50, 100, 150, 200), strict=True))
    columns = ["num_timesteps", "return"]
    assert first.evaluations()[columns].equals(again.evaluations()[columns])
    np.testing.assert_array_equal(parameters(first), parameters(again))


def test_every_episode_is_recorded_once_also_when_another_callback_looks_at_steps(tmp_path):
    hyperparams = {"n_workers": 1, "n_steps": 5}
    alone = tiny(tmp_path, "a3c", n_timesteps=300, hyperparams=hyperparams)
    beside = tiny(tmp_path, "a3c", n_timesteps=300, hyperparams=hyperparams, callback=At(-1, fail))
    assert list(alone.episodes()["length"]) == list(beside.episodes()["length"])


def test_workers_that_can_stand_still_do_so_while_the_model_is_evaluated(tmp_path, monkeypatch):
    events = []

    @contextmanager
    def paused():
        events.append("still")
        yield
        events.append("on")

    def build(config):
        model = real_build(config)
        model.paused = paused
        return model

    def evaluate(self, model, deterministic=True):
        events.append("evaluate")
        return [EpisodeResult(-float(model.num_timesteps), 1)]

    real_build = training.build_model
    monkeypatch.setattr(training, "build_model", build)
    monkeypatch.setattr(Evaluator, "__call__", evaluate)
    monkeypatch.setattr(agents, "save", lambda model, path: events.append(f"save {path.stem}"))
    tiny(tmp_path, n_timesteps=96, eval_freq=64)
    assert events == ["still", "evaluate", "save best", "save last", "on", "evaluate", "save final"]
