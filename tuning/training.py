"""One training run: from a configuration to a folder with models, evaluations and status.

Nothing is written before the configuration is checked and the model is built. After that, whatever happens is in the
folder: a failure with its traceback, an interruption with the model of that moment.
"""

import os
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

import agents
from agents import registry
from tuning import environments, hyperparameters
from tuning.callback import RunCallback, trains_beside
from tuning.config import RunConfig, resolve
from tuning.errors import TrainingFailed, UsageError
from tuning.evaluation import Evaluator
from tuning.interruption import sigterm_interrupts
from tuning.progress import reporter
from tuning.recorder import Recorder, create_run, one_line
from tuning.runs import DEFAULT_RUNS_DIR, RunFolder, open_run
from tuning.seeds import derived_seed
from tuning.stopwatch import Stopwatch

_RESUMED = 1  # a stream of seeds, see tuning.seeds


def train(
    algo: str | None = None,
    env_id: str | None = None,
    *,
    n_timesteps: int | None = None,
    seed: int | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    runs_dir: str | os.PathLike[str] = DEFAULT_RUNS_DIR,
    run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
    progress: bool = True,
    callback: BaseCallback | None = None,
    **settings: Any,
) -> RunFolder:
    """Train an algorithm on an environment, into a run folder.

    Args:
        algo: registry key or class name, such as "a3c"; may stand in `config`.
        env_id: environment, such as "CartPole-v1"; may stand in `config`.
        n_timesteps: environment steps; the configuration's by default.
        seed: two runs with one seed give identical evaluations, unless several asynchronous workers train.
        hyperparams: over those of the configuration; see `tuning.config.resolve`.
        config: a file or its content in place of `zoo_configs/<algo>.yml`.
        runs_dir: where run folders lie.
        run_id: the folder's name; derived from seed and configuration by default.
        tags: kept in run.json.
        command: kept in run.json; `sys.argv` by default.
        progress: show a bar on a terminal, a line now and then elsewhere.
        callback: one more callback for `learn`.
        **settings: other keys of `tuning.config.RunConfig`, such as eval_freq, eval_episodes, n_envs, device.

    Returns:
        The finished run.

    Raises:
        UsageError: something in the configuration is wrong; nothing was written.
        TrainingFailed: training broke; the folder says why.
        KeyboardInterrupt: by Ctrl-C or SIGTERM; the model is saved, and `resume` continues the run.
    """
    resolved = resolve(
        algo, env_id, config=config, hyperparams=hyperparams, n_timesteps=n_timesteps, seed=seed, **settings
    )
    with torch_threads(resolved.threads):
        model = build_model(resolved)
        evaluator = Evaluator(resolved)
        recorder = create_run(
            resolved,
            Path(runs_dir),
            run_id=run_id,
            command=command,
            tags=tags,
            reward_threshold=gym.spec(resolved.env).reward_threshold,
        )
        return _run(model, evaluator, resolved, recorder, Stopwatch(), progress, callback)


def resume(run: str | os.PathLike[str], *, progress: bool = True, callback: BaseCallback | None = None) -> RunFolder:
    """Continue an interrupted or failed run from its last saved model to its number of steps.

    What was recorded after that model is dropped. Environments start new episodes, so the course differs from that of
    an uninterrupted run. A replay buffer that was too large to be kept begins empty.

    Args:
        run: the run's folder.
        progress: as for `train`.
        callback: as for `train`.

    Returns:
        The finished run.

    Raises:
        UsageError: no run folder, or a run that is finished or still running.
        TrainingFailed, KeyboardInterrupt: as for `train`.
    """
    folder = open_run(run)
    status = folder.status
    if status["status"] == "finished":
        raise UsageError(f"{folder.path} is finished; train again with more steps: actorzoo train --n-timesteps")
    if status["status"] == "running":
        raise UsageError(f"{folder.path} is still running as process {status['pid']}; wait, or interrupt it first")
    config = resolve(config=folder.config_path)
    recorder = Recorder(folder)
    with torch_threads(config.threads):
        checkpoint = status.get("checkpoint") if recorder.model_path("last").is_file() else None
        if checkpoint is None:
            model, stopwatch = build_model(config), Stopwatch()
        else:
            model = _load_checkpoint(config, recorder)
            stopwatch = Stopwatch(checkpoint["train_seconds"])
        recorder.checkpoint = checkpoint
        recorder.forget_after(model.num_timesteps)
        recorder.write_status("running", model.num_timesteps, stopwatch.seconds)
        return _run(model, Evaluator(config), config, recorder, stopwatch, progress, callback)


def build_model(config: RunConfig) -> BaseAlgorithm:
    """The untrained model with its training environments.

    Raises:
        UsageError: the constructor refuses its arguments.
    """
    spec = registry.get(config.algo)
    # an asynchronous algorithm's workers make their own environments, so it gets the recipe instead of the result
    env: Any = partial(environments.training_env, config) if spec.asynchronous else environments.training_env(config)
    try:
        _, action_space = environments.spaces_of(config) if spec.asynchronous else (None, env.action_space)
        arguments = hyperparameters.constructor_arguments(spec.cls, config.policy, config.hyperparams, action_space)
        return spec.cls(config.policy, env, seed=config.seed, device=config.device, **arguments)
    except (AssertionError, TypeError, ValueError) as error:
        if isinstance(env, VecEnv):
            env.close()
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{spec.cls.__name__} refuses its arguments: {one_line(error)}") from error


def _load_checkpoint(config: RunConfig, recorder: Recorder) -> BaseAlgorithm:
    """The model as it was saved, with environments whose statistics continue."""
    path = recorder.model_path("last")
    try:
        model = agents.load(path, env=environments.training_env(config), device=config.device)
    except ValueError as error:
        raise UsageError(f"{error} To begin anew, remove {path}.") from error
    if isinstance(model, OffPolicyAlgorithm) and recorder.replay_buffer_path.is_file():
        model.load_replay_buffer(recorder.replay_buffer_path)
    # not the run's own seed, which would repeat the episodes of its beginning
    model.set_random_seed(derived_seed(config.seed, model.num_timesteps, _RESUMED))
    return model


def _run(
    model: BaseAlgorithm,
    evaluator: Evaluator,
    config: RunConfig,
    recorder: Recorder,
    stopwatch: Stopwatch,
    progress: bool,
    callback: BaseCallback | None,
) -> RunFolder:
    """Train to the end and leave the truth in status.json, however it ends."""
    folder = recorder.folder
    shown = reporter(f"{config.algo} {config.env} {folder.path.name}", config.n_timesteps, progress)
    watch = RunCallback(config, recorder, evaluator, shown, stopwatch, trains_beside=trains_beside(config))
    watch.model = model  # an interruption may come before learn gives it
    with ExitStack() as stack:
        stack.callback(evaluator.close)
        if (venv := model.get_env()) is not None:
            stack.callback(venv.close)
        try:
            with sigterm_interrupts(), shown:
                _learn(model, config, watch, callback)
                recorder.flush()
                watch.evaluate()
                agents.save(model, recorder.model_path("final"))
            recorder.drop_checkpoint()
            recorder.write_status("finished", model.num_timesteps, stopwatch.seconds)
        except KeyboardInterrupt as interruption:
            with _undisturbed():
                stopwatch.stop()
                recorder.flush()
                watch.save_checkpoint()
                recorder.write_status("interrupted", model.num_timesteps, stopwatch.seconds)
            raise KeyboardInterrupt(
                f"interrupted after {model.num_timesteps} steps; to continue: "
                f"{shlex.join(['actorzoo', 'resume', str(folder.path)])}"
            ) from interruption
        except BaseException as error:
            stopwatch.stop()
            recorder.flush()
            recorder.write_status("failed", model.num_timesteps, stopwatch.seconds, error)
            if not isinstance(error, Exception):
                raise
            raise TrainingFailed(
                f"{config.algo} on {config.env} failed after {model.num_timesteps} steps: {one_line(error)} "
                f"(traceback in {folder.path / 'status.json'})"
            ) from error
    return folder


def _learn(model: BaseAlgorithm, config: RunConfig, watch: RunCallback, callback: BaseCallback | None) -> None:
    left = config.n_timesteps - model.num_timesteps
    if left > 0:
        callbacks: list[BaseCallback] = [watch] if callback is None else [watch, callback]
        model.learn(left, callback=callbacks, reset_num_timesteps=model.num_timesteps == 0)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """As many torch threads in the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Finish what is being written, however often Ctrl-C is pressed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
