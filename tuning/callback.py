"""The callback that a run trains with: records episodes, evaluates at regular steps, keeps checkpoints.

Algorithms show their episodes in three ways, and all are understood: step by step in the callback's locals (SB3's);
segment by segment there, without calls for single steps (asynchronous ones, told by `per_step = False`); or a whole
rollout's in the model's episode buffer (ARS).
"""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

import agents
from agents import registry
from tuning.config import RunConfig
from tuning.evaluation import Evaluator
from tuning.files import whole_file
from tuning.progress import Reporter
from tuning.recorder import Recorder
from tuning.stopwatch import Stopwatch

_SECONDS_BETWEEN_STATUSES = 5.0
# A replay buffer larger than this is not written beside every checkpoint; resuming then begins with an empty one
MAX_REPLAY_BUFFER_BYTES = 256 * 2**20


class Watch(BaseCallback):
    """Follows one run's `learn`: its clock, its episodes, and the steps at which it is to be evaluated.

    The stopwatch runs from the start of training (`model.start_time`: asynchronous algorithms set it when the first
    worker is ready) to its end and pauses for evaluations and checkpoints. Where workers in other processes go on
    training meanwhile, it does not pause; an algorithm that has a context manager `paused()`, inside of which its
    workers stand still and `num_timesteps` and `policy` are those of one moment, is evaluated inside of it.

    Args:
        config: the run.
        reporter: its display.
        stopwatch: counts what was spent on training.
        trains_beside: whether training goes on in other processes while a callback runs.
    """

    per_step = False  # asynchronous workers need not send single steps, which would cost most of their speed

    def __init__(self, config: RunConfig, reporter: Reporter, stopwatch: Stopwatch, *, trains_beside: bool) -> None:
        super().__init__()
        self._config = config
        self._reporter = reporter
        self._stopwatch = stopwatch
        self._trains_beside = trains_beside
        self._began = False
        self._next_evaluation = 0
        self._saw_steps = False

    def evaluate(self) -> None:
        """Evaluate the model as it is now."""
        raise NotImplementedError

    def _evaluation_due(self) -> None:
        """Evaluate, and do what else is done then."""
        self.evaluate()

    def _episode_ended(self, value: float, length: int) -> None:
        """A training episode ended."""

    def _steps_taken(self) -> None:
        """Some steps were taken; their episodes and an evaluation that was due are done."""

    def _on_training_start(self) -> None:
        self._next_evaluation = self._evaluation_after(self.model.num_timesteps)

    def _on_training_end(self) -> None:
        self._stopwatch.stop()

    def _on_step(self) -> bool:
        self._saw_steps = True
        self._advance(self.locals.get("infos", ()))
        return True

    def _on_rollout_end(self) -> None:
        if "infos" not in self.locals:
            self._advance([{"episode": episode} for episode in self.model.ep_info_buffer or ()])
        elif not self._saw_steps:
            self._advance(self.locals["infos"])
        self._saw_steps = False

    def _advance(self, infos: Iterable[dict[str, Any]]) -> None:
        """Some steps were taken, in which the episodes among these infos ended."""
        if not self._began:
            self._began = True
            self._stopwatch.start(seconds_ago=(time.time_ns() - self.model.start_time) / 1e9)
        for info in infos:
            if "episode" in info:
                value = float(info["episode"]["r"])
                self._episode_ended(value, int(info["episode"]["l"]))
                self._reporter.episode(value)
        self._reporter.update(self.model.num_timesteps, self._stopwatch.seconds)
        if self.model.num_timesteps >= self._next_evaluation:
            self._pause_and_evaluate()
        self._steps_taken()

    def _evaluation_after(self, num_timesteps: int) -> int:
        freq = self._config.eval_freq
        return (num_timesteps // freq + 1) * freq

    def _pause_and_evaluate(self) -> None:
        stands_still = getattr(self.model, "paused", None)
        with ExitStack() as pauses:
            if stands_still is not None:
                pauses.enter_context(stands_still())
            if stands_still is not None or not self._trains_beside:
                pauses.enter_context(self._stopwatch.paused())
            # the steps of workers that were stopped now, which may be more than were told so far
            self._next_evaluation = self._evaluation_after(self.model.num_timesteps)
            if self.model.num_timesteps < self._config.n_timesteps:  # the one at the end is that of the final model
                self._evaluation_due()


class RunCallback(Watch):
    """Watches the `learn` of a run that has a folder: records episodes and evaluations, keeps checkpoints.

    Args:
        config: the run.
        recorder: its folder.
        evaluator: its evaluation environments.
        reporter: its display.
        stopwatch: counts what was spent on training.
        trains_beside: whether training goes on in other processes while a callback runs.
    """

    def __init__(
        self,
        config: RunConfig,
        recorder: Recorder,
        evaluator: Evaluator,
        reporter: Reporter,
        stopwatch: Stopwatch,
        *,
        trains_beside: bool,
    ) -> None:
        super().__init__(config, reporter, stopwatch, trains_beside=trains_beside)
        self._recorder = recorder
        self._evaluator = evaluator
        self._best = _best_so_far(recorder)
        self._next_status = 0.0

    def evaluate(self) -> None:
        """Evaluate the model as it is now, and keep it if it is the best so far."""
        steps, seconds = self.model.num_timesteps, self._stopwatch.seconds
        episodes = self._evaluator(self.model)
        self._recorder.add_evaluation(steps, seconds, episodes, sampled=False)
        if self._config.eval_sampled:
            sampled = self._evaluator(self.model, deterministic=False)
            self._recorder.add_evaluation(steps, seconds, sampled, sampled=True)
        score = float(np.mean([episode.value for episode in episodes]))
        if self._best is None or score > self._best:
            self._best = score
            agents.save(self.model, self._recorder.model_path("best"))

    def save_checkpoint(self) -> None:
        """Keep what `resume` needs to go on from here."""
        agents.save(self.model, self._recorder.model_path("last"))
        save_replay_buffer(self.model, self._recorder.replay_buffer_path)
        self._recorder.note_checkpoint(self.model.num_timesteps, self._stopwatch.seconds)

    def _evaluation_due(self) -> None:
        self._recorder.flush()
        self.evaluate()
        self.save_checkpoint()
        self._recorder.write_status("running", self.model.num_timesteps, self._stopwatch.seconds)

    def _episode_ended(self, value: float, length: int) -> None:
        self._recorder.add_episode(self.model.num_timesteps, self._stopwatch.seconds, value, length)

    def _steps_taken(self) -> None:
        if time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + _SECONDS_BETWEEN_STATUSES
            self._recorder.flush()
            self._recorder.write_status("running", self.model.num_timesteps, self._stopwatch.seconds)


def trains_beside(config: RunConfig) -> bool:
    """Whether training goes on in other processes while this one evaluates."""
    return registry.get(config.algo).asynchronous and config.hyperparams.get("n_workers", 1) > 1


def save_replay_buffer(model: BaseAlgorithm, path: Path) -> None:
    """Write the replay buffer in SB3's format, if there is one and it is not too large.

    An older one is removed where the new one is not written: it would not belong to the checkpoint.
    """
    buffer = model.replay_buffer if isinstance(model, OffPolicyAlgorithm) else None
    if not isinstance(model, OffPolicyAlgorithm) or buffer is None or size_in_bytes(buffer) > MAX_REPLAY_BUFFER_BYTES:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as temporary:
        model.save_replay_buffer(temporary)


def size_in_bytes(buffer: object) -> int:
    """What a replay buffer's arrays take when they are full."""
    arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    for mapping in vars(buffer).values():
        if isinstance(mapping, dict):  # observations of Dict spaces
            arrays += [value for value in mapping.values() if isinstance(value, np.ndarray)]
    return sum(array.nbytes for array in arrays)


def _best_so_far(recorder: Recorder) -> float | None:
    """The best evaluation of earlier parts of a resumed run."""
    table = recorder.folder.evaluations()
    scores = table[~table["sampled"]].groupby("num_timesteps")["return"].mean()
    return None if scores.empty else float(scores.max())
