"""A study's objective: one trial is one configuration, trained with each of the study's seeds and scored."""

import math
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Self

import optuna

from tuning import search_space
from tuning.config import RunConfig, resolve
from tuning.errors import UsageError
from tuning.recorder import one_line
from tuning.study import attributes
from tuning.study.config import Metric, StudyConfig, directions
from tuning.study.paste import constructor_call
from tuning.study.plan import plan_study
from tuning.study.pruners import prunes_by_seed
from tuning.study.scores import Scoring, over_seeds, score
from tuning.study.seeds import Stage, stage_seeds
from tuning.study.training import Training, train_for_trial


class Objective:
    """A callable for any Optuna study.

        study = optuna.create_study(direction="maximize")
        study.optimize(tuning.Objective("ppo", "CartPole-v1", n_timesteps=20_000), n_trials=50, catch=(Exception,))
        study.best_trial.user_attrs["constructor"]  # PPO(...), ready to be pasted

    Each trial samples the search space, trains once with each of the study's seeds (the same ones in every trial, so
    that trials can be compared), reports evaluations for pruning, and returns the score. Its user attributes (see
    `tuning.study.attributes`) hold the resolved configuration, the constructor's call, the score of each seed,
    steps and seconds.

    A trial whose training raises is failed: the attributes `error` and `traceback` say why, and the exception goes on
    to `optimize`, which needs `catch=(Exception,)` to try other settings. So does a score that is not a number, without
    an exception. Only the study's pruner prunes.

    It holds data only, so it can be pickled and called in another process.

    Args:
        algo: registry key or class name.
        env_id: environment.
        **settings: as for `tuning.study.plan.plan_study`: hyperparams, config, n_timesteps, seed, seeds_per_trial,
            objective, space, ...

    Raises:
        UsageError: something in the settings is wrong.
    """

    def __init__(self, algo: str | None = None, env_id: str | None = None, **settings: Any) -> None:
        self._set(plan_study(algo, env_id, **settings))

    @classmethod
    def from_config(cls, config: StudyConfig) -> Self:
        """The objective of a study that is written down."""
        objective = cls.__new__(cls)
        objective._set(config)
        return objective

    def _set(self, config: StudyConfig) -> None:
        self.config = config
        self.space = search_space.parse(config.search_space)
        self.seeds = stage_seeds(config.seed, Stage.TRIALS, config.seeds_per_trial)

    def __reduce__(self) -> tuple[Any, tuple[StudyConfig]]:
        return type(self).from_config, (self.config,)

    def __call__(self, trial: optuna.Trial) -> float | Sequence[float]:
        """Train and score.

        Args:
            trial: of a study with the directions of this objective.

        Returns:
            The score, or one score for each of several objectives; NaN, which Optuna fails, where one is not a number.

        Raises:
            UsageError: the study has other directions.
            optuna.TrialPruned: the pruner ended the trial.
            Exception: what training raised.
        """
        self._check_directions(trial.study)
        trainings: list[Training] = []
        try:
            config = self._resolve(trial)
            for index, seed in enumerate(self.seeds):
                trainings.append(Training())
                run = config.model_copy(update={"seed": seed})
                train_for_trial(run, trainings[-1], _Reports(trial, self.config, index))
                self._report_seed(trial, trainings, index)
            scores = self._scores(trainings)
        except optuna.TrialPruned:
            self._note(trial, trainings)
            raise
        except Exception as error:
            self._note(trial, trainings)
            trial.set_user_attr(attributes.ERROR, one_line(error))
            trial.set_user_attr(attributes.TRACEBACK, "".join(traceback.format_exception(error)))
            raise
        self._note(trial, trainings, **{attributes.SCORES: scores})
        return self._values(trial, trainings, scores)

    def _resolve(self, trial: optuna.Trial) -> RunConfig:
        """The trial's configuration; noted before anything can go wrong with it."""
        config = resolve(config=self.config.base.to_data(), hyperparams=self.space.sample(trial), seed=self.seeds[0])
        trial.set_user_attr(attributes.CONFIG, config.to_data())
        trial.set_user_attr(attributes.CONSTRUCTOR, constructor_call(config))
        return config

    def _scoring(self) -> Scoring:
        return scoring_of(self.config)

    def _report_seed(self, trial: optuna.Trial, trainings: Sequence[Training], index: int) -> None:
        """The seed's own score, where the pruner compares seeds."""
        if not prunes_by_seed(self.config) or len(self.config.objectives) > 1:
            return
        value = score(self.config.objectives[0], trainings[-1].evaluations, self._scoring())
        if math.isnan(value):
            return
        trial.report(value, step=index)
        if index + 1 < len(self.seeds) and trial.should_prune():
            raise optuna.TrialPruned(f"after {index + 1} of {len(self.seeds)} seeds")

    def _note(self, trial: optuna.Trial, trainings: Sequence[Training], **scores: Any) -> None:
        """What was done, however the trial ends."""
        about = {
            attributes.SEEDS: self.seeds[: len(trainings)],
            attributes.NUM_TIMESTEPS: sum(training.num_timesteps for training in trainings),
            attributes.TRAIN_SECONDS: sum(training.train_seconds for training in trainings),
            attributes.EVALUATIONS: [[list(one.evaluations.steps), one.evaluations.means] for one in trainings],
        }
        trial.set_user_attr(attributes.RESULT, about | scores)

    def _scores(self, trainings: Sequence[Training]) -> dict[str, list[float]]:
        return {
            metric.value: [score(metric, one.evaluations, self._scoring()) for one in trainings]
            for metric in self.config.objectives
        }

    def _values(
        self, trial: optuna.Trial, trainings: Sequence[Training], scores: Mapping[str, Sequence[float]]
    ) -> float | list[float]:
        if self.config.max_train_seconds is not None:
            longest = max(training.train_seconds for training in trainings)
            trial.set_constraint(attributes.TIME_CONSTRAINT, longest - self.config.max_train_seconds)
        values = [over_seeds(metric, scores[metric.value]) for metric in self.config.objectives]
        for metric, value in zip(self.config.objectives, values, strict=True):
            if math.isnan(value):
                trial.set_user_attr(attributes.ERROR, self._why_nan(metric, scores[metric.value], trainings))
        return values if len(values) > 1 else values[0]

    def _why_nan(self, metric: Metric, scores: Sequence[float], trainings: Sequence[Training]) -> str:
        index = next(i for i, value in enumerate(scores) if math.isnan(value))
        run = trainings[index].evaluations
        step = next((step for step, mean in zip(run.steps, run.means, strict=True) if math.isnan(mean)), None)
        where = f"the evaluation at step {step} gave NaN" if step is not None else "it has too few evaluations"
        return f"{metric.value} is not a number with seed {self.seeds[index]}: {where}"

    def _check_directions(self, study: optuna.Study) -> None:
        wanted = directions(self.config)
        found = [direction.name.lower() for direction in study.directions]
        if found != wanted:
            call = f"direction={wanted[0]!r}" if len(wanted) == 1 else f"directions={wanted}"
            names = " and ".join(metric.value for metric in self.config.objectives)
            raise UsageError(
                f"the study has directions {found}, but {names} must be {wanted}; make it with "
                f"optuna.create_study({call})"
            )


class _Reports:
    """Reports the evaluations of one seed's run to the trial, and ends it when the pruner says so."""

    def __init__(self, trial: optuna.Trial, config: StudyConfig, index: int) -> None:
        self._trial = trial
        self._offset = index * config.base.n_timesteps
        self._end = config.seeds_per_trial * config.base.n_timesteps
        self._threshold = config.threshold if config.objectives == [Metric.STEPS_TO_THRESHOLD] else None
        self._arrived = False
        self._sign = 1.0 if directions(config) == ["maximize"] else -1.0
        # Optuna neither reports nor prunes with several objectives
        self._silent = prunes_by_seed(config) or len(config.objectives) > 1

    def __call__(self, step: int, mean_return: float) -> None:
        if self._silent or math.isnan(mean_return):
            return
        self._trial.report(self._sign * mean_return, step=self._offset + step)
        self._arrived |= self._threshold is not None and mean_return >= self._threshold
        # at its very end there is nothing left to save, and a finished trial to lose; likewise once the score is known
        if self._offset + step < self._end and not self._arrived and self._trial.should_prune():
            raise optuna.TrialPruned(f"at step {self._offset + step}")


def scoring_of(config: StudyConfig) -> Scoring:
    """How the study's runs are scored."""
    return Scoring(config.last_evaluations, config.threshold, config.base.n_timesteps)


def default_parameters(config: StudyConfig) -> search_space.Encoded:
    """The default as a point of the study's search space.

    What the configuration leaves to the constructor has the constructor's default.
    """
    import inspect

    from agents import registry

    signature = inspect.signature(registry.get(config.base.algo).cls.__init__).parameters
    values: dict[str, Any] = {
        name: parameter.default
        for name, parameter in signature.items()
        if parameter.default is not inspect.Parameter.empty and parameter.default is not None
    }
    values |= _flat({key: value for key, value in config.base.to_data().items() if key != "hyperparams"})
    values |= _flat(config.base.hyperparams)
    return search_space.parse(config.search_space).encode(values)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every mapping and what is in it: {"a": {"b": 1}} -> {"a": {"b": 1}, "a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat[f"{prefix}{name}"] = value
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
    return flat
