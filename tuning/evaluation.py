"""How good a model is: whole episodes in an environment of their own, without a trace on training.

Scores are those of deterministic actions unless "sampled" is said. Returns are Monitor's: unscaled, unnormalized.
"""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

import agents
from tuning import environments
from tuning.config import RunConfig, resolve
from tuning.errors import UsageError
from tuning.runs import RunFolder, open_run
from tuning.seeds import evaluation_seed

if TYPE_CHECKING:
    import pandas as pd

_ENVIRONMENTS_AT_ONCE = 10  # one batched prediction serves them all


class EpisodeResult(NamedTuple):
    """One episode: its return, as Monitor saw it, and its length in environment steps."""

    value: float
    length: int


def evaluate_model(
    model: BaseAlgorithm, venv: VecEnv, n_episodes: int, seed: int, deterministic: bool = True
) -> list[EpisodeResult]:
    """Play whole episodes.

    Each environment plays a number of episodes that is fixed beforehand: taking the first to end would favor short
    ones.

    Args:
        model: asked through `agents.predict`, which normalizes with the model's statistics and leaves them as they are.
        venv: monitored environments without normalization.
        n_episodes: how many.
        seed: of the first environment.
        deterministic: False samples actions.

    Returns:
        The episodes, environment by environment.
    """
    quotas = [(n_episodes + index) // venv.num_envs for index in range(venv.num_envs)]
    results: list[list[EpisodeResult]] = [[] for _ in quotas]
    masked = isinstance(model, MaskablePPO) and is_masking_supported(venv)
    venv.seed(seed)
    observations = venv.reset()
    state = None
    episode_starts = np.ones(venv.num_envs, dtype=bool)
    while any(len(episodes) < quota for episodes, quota in zip(results, quotas, strict=True)):
        actions, state = agents.predict(
            model,
            observations,  # type: ignore[arg-type]
            deterministic,
            state=state,
            episode_start=episode_starts,
            action_masks=get_action_masks(venv) if masked else None,
        )
        observations, _, episode_starts, infos = venv.step(actions)
        for episodes, quota, info in zip(results, quotas, infos, strict=True):
            if "episode" in info and len(episodes) < quota:
                episodes.append(EpisodeResult(float(info["episode"]["r"]), int(info["episode"]["l"])))
    return [episode for episodes in results for episode in episodes]


class Evaluator:
    """Evaluates a model while it is trained.

    Training goes on as if nothing had happened: environments, seeds and random streams are the evaluator's own.

    Args:
        config: the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._venv = environments.evaluation_env(config, min(config.eval_episodes, _ENVIRONMENTS_AT_ONCE))

    def __call__(self, model: BaseAlgorithm, deterministic: bool = True) -> list[EpisodeResult]:
        """One evaluation; the same step of the same run has the same start states, whatever came before."""
        seed = evaluation_seed(self._config.seed, model.num_timesteps, int(deterministic))
        with _training_untouched(model):
            return evaluate_model(model, self._venv, self._config.eval_episodes, seed, deterministic)

    def close(self) -> None:
        """Close the environments."""
        self._venv.close()


def evaluate(
    run: str | os.PathLike[str],
    episodes: int = 20,
    *,
    sampled: bool = False,
    model: str = "final",
    seed: int | None = None,
) -> "pd.DataFrame":
    """Evaluate a run's saved model, with the statistics it was saved with.

    Args:
        run: the run's folder, which is left as it is.
        episodes: how many.
        sampled: sample actions instead of taking the most likely ones.
        model: "final", "best" or "last".
        seed: of the environments; by default derived from the run's, so that a second call gives the same answer.

    Returns:
        One row per episode: episode, return, length, sampled.

    Raises:
        UsageError: no such run or model.
    """
    import pandas as pd

    folder = open_run(run)
    config = resolve(config=folder.config_path)
    loaded = load_model(folder, config, model)
    venv = environments.evaluation_env(config, min(episodes, _ENVIRONMENTS_AT_ONCE))
    try:
        first = evaluation_seed(config.seed, loaded.num_timesteps, int(not sampled), 1) if seed is None else seed
        results = evaluate_model(loaded, venv, episodes, first, not sampled)
    finally:
        venv.close()
    table = pd.DataFrame(_rows(results), columns=["episode", "return", "length"])
    return table.assign(sampled=sampled)


def load_model(folder: RunFolder, config: RunConfig, which: str) -> BaseAlgorithm:
    """A run's saved model, without an environment; sampled actions are seeded with the run's seed.

    Raises:
        UsageError: there is none, or its file is damaged.
    """
    path = folder.model_path(which)
    try:
        model = agents.load(path, device=config.device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    model.set_random_seed(config.seed)
    return model


def _rows(results: Sequence[EpisodeResult]) -> list[tuple[int, float, int]]:
    return [(number, episode.value, episode.length) for number, episode in enumerate(results)]


@contextmanager
def _training_untouched(model: BaseAlgorithm) -> Iterator[None]:
    """Put the global random streams and the policy's mode back where they were."""
    streams: tuple[Any, ...] = (torch.get_rng_state(), np.random.get_state(), random.getstate())  # noqa: NPY002
    was_training = model.policy.training
    try:
        yield
    finally:
        torch.set_rng_state(streams[0])
        np.random.set_state(streams[1])  # noqa: NPY002
        random.setstate(streams[2])
        model.policy.set_training_mode(was_training)
