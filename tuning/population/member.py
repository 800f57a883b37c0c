"""One interval of one member: from its parent's checkpoint to its own, with an evaluation at the end.

Every interval begins from a checkpoint, also where nothing has changed and nothing was interrupted. So it depends on
its arguments only, may run in any process, and is the same after a kill.
"""

import json
import math
import shutil
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

import agents
from tuning.callback import save_replay_buffer
from tuning.config import RunConfig, resolve
from tuning.evaluation import Evaluator
from tuning.files import write_json
from tuning.population.carrying import carry_over, carry_statistics
from tuning.recorder import one_line
from tuning.training import build_model, torch_threads

MODEL, REPLAY_BUFFER, RESULT = "model.zip", "replay_buffer.pkl", "result.json"


@dataclass(frozen=True)
class Interval:
    """What is to be done; can be pickled.

    Attributes:
        base: of the population.
        hyperparams: of the member, by dotted name, over those of `base`.
        seed: of environments and actions in this interval.
        evaluation_seed: the same for all members of a generation, which therefore meet the same start states.
        target: environment steps at its end, rounded up to the algorithm's rollouts.
        source: the parent's checkpoint; None begins with an untrained model.
        folder: for the checkpoint of this one.
    """

    base: RunConfig
    hyperparams: Mapping[str, Any]
    seed: int
    evaluation_seed: int
    target: int
    source: Path | None
    folder: Path


def train_interval(interval: Interval) -> dict[str, Any]:
    """Train, evaluate, save; once only.

    Returns:
        from_step, to_step, returns (of the evaluation's episodes), train_seconds, error (None, or one line with what
        went wrong; a failed member has no model).
    """
    result_file = interval.folder / RESULT
    if result_file.is_file():  # it comes last, so everything else is complete
        found: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
        return found
    shutil.rmtree(interval.folder, ignore_errors=True)
    result: dict[str, Any] = {"from_step": 0, "to_step": 0, "returns": [], "train_seconds": 0.0, "error": None}
    try:
        result |= _train(interval)
    except Exception as error:  # noqa: BLE001 - whatever training raises, the population goes on without the member
        result |= {"error": one_line(error), "traceback": "".join(traceback.format_exception(error))}
    write_json(result_file, result)
    return result


def score(result: Mapping[str, Any]) -> float:
    """Mean return of the evaluation; -inf for a failed member."""
    return -math.inf if result["error"] is not None else math.fsum(result["returns"]) / len(result["returns"])


def _train(interval: Interval) -> dict[str, Any]:
    config = resolve(config=interval.base.to_data(), hyperparams=interval.hyperparams, seed=interval.seed)
    with torch_threads(config.threads), ExitStack() as stack:
        model = _continued(interval.source, config)
        if (venv := model.get_env()) is not None:
            stack.callback(venv.close)
        evaluator = Evaluator(config.model_copy(update={"seed": interval.evaluation_seed}))
        stack.callback(evaluator.close)
        before, started = model.num_timesteps, time.perf_counter()
        _learn_until(model, interval.target, config.n_timesteps)
        seconds = time.perf_counter() - started
        _check_finite(model)
        returns = [episode.value for episode in evaluator(model)]
        if not all(map(math.isfinite, returns)):
            raise ArithmeticError(f"the evaluation after {model.num_timesteps} steps gave the returns {returns}")
        agents.save(model, interval.folder / MODEL)
        save_replay_buffer(model, interval.folder / REPLAY_BUFFER)
        return {"from_step": before, "to_step": model.num_timesteps, "returns": returns, "train_seconds": seconds}


def _continued(source: Path | None, config: RunConfig) -> BaseAlgorithm:
    """A model with the settings of `config`, which goes on from the source's checkpoint."""
    if source is None:
        return build_model(config)
    old = agents.load(source / MODEL, device=config.device)  # first: loading seeds all generators as the old run did
    model = build_model(config)
    try:
        carry_over(old, model)
        carry_statistics(old, model)
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(source / REPLAY_BUFFER)
    except BaseException:
        if (venv := model.get_env()) is not None:
            venv.close()
        raise
    return model


class _IntervalOverError(Exception):
    """Ends `learn` between two rollouts."""


class _Until(BaseCallback):
    """Ends `learn` where nothing is half done: before a rollout begins, after the updates of the one before."""

    per_step = False

    def __init__(self, target: int) -> None:
        super().__init__()
        self._target = target

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps >= self._target:
            raise _IntervalOverError


def _learn_until(model: BaseAlgorithm, target: int, n_timesteps: int) -> None:
    """Learn to the target as a part of `n_timesteps`: schedules see the progress of the whole run."""
    if model.num_timesteps >= target:
        return  # the last rollout went as far
    with suppress(_IntervalOverError):
        model.learn(n_timesteps - model.num_timesteps, callback=_Until(target), reset_num_timesteps=False)


def _check_finite(model: BaseAlgorithm) -> None:
    for name, parameter in model.policy.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ArithmeticError(f"the parameters {name} are not finite after {model.num_timesteps} steps")
