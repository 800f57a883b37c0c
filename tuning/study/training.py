"""One training run of a trial: what `actorzoo train` does, without a folder.

The model, its environments, the steps at which it is evaluated, the seeds of these evaluations: all are those of
`tuning.training.train` with the same configuration, so a trial's evaluations are those of the run that repeats it.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from tuning.callback import Watch, trains_beside
from tuning.config import RunConfig
from tuning.evaluation import EpisodeResult, Evaluator
from tuning.progress import Quiet
from tuning.stopwatch import Stopwatch
from tuning.study.scores import Evaluations
from tuning.training import build_model, torch_threads

#: Is told each evaluation: the step it was due at, and its mean return. It may raise to end the run.
Report = Callable[[int, float], None]


@dataclass
class Training:
    """A run as far as it has come, whatever ended it.

    Attributes:
        num_timesteps: environment steps.
        evaluations: so far.
    """

    num_timesteps: int = 0
    train_seconds: float = 0.0
    _steps: list[int] = field(default_factory=list)
    _returns: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, num_timesteps: int, train_seconds: float, episodes: list[EpisodeResult]) -> float:
        """Keep one evaluation.

        Returns:
            Its mean return.
        """
        self.num_timesteps, self.train_seconds = num_timesteps, train_seconds
        self._steps.append(num_timesteps)
        self._returns.append(tuple(episode.value for episode in episodes))
        return self.evaluations.means[-1]

    @property
    def evaluations(self) -> Evaluations:
        """What can be scored."""
        return Evaluations(tuple(self._steps), tuple(self._returns), self.train_seconds)


class TrialWatch(Watch):
    """Evaluates as `RunCallback` does, and reports instead of recording."""

    def __init__(
        self, config: RunConfig, evaluator: Evaluator, stopwatch: Stopwatch, training: Training, report: Report
    ) -> None:
        super().__init__(config, Quiet(), stopwatch, trains_beside=trains_beside(config))
        self._evaluator = evaluator
        self._training = training
        self._report = report

    def evaluate(self) -> None:
        """Evaluate, keep, report."""
        steps, seconds = self.model.num_timesteps, self._stopwatch.seconds
        mean = self._training.add(steps, seconds, self._evaluator(self.model))
        freq, budget = self._config.eval_freq, self._config.n_timesteps
        # rollouts of several lengths pass the same evaluation at different steps; comparing trials needs the one due
        self._report(budget if steps >= budget else steps // freq * freq, mean)

    def _steps_taken(self) -> None:
        self._training.num_timesteps = self.model.num_timesteps
        self._training.train_seconds = self._stopwatch.seconds


def train_for_trial(config: RunConfig, training: Training, report: Report) -> None:
    """Train a model to the end of its budget.

    Args:
        config: of the run.
        training: is filled, so that it is known how far the run came when it ends early.
        report: is told each evaluation.

    Raises:
        Exception: whatever the algorithm, the environment or `report` raises; nothing is left open.
    """
    with torch_threads(config.threads), ExitStack() as stack:
        model = build_model(config)
        if (venv := model.get_env()) is not None:
            stack.callback(venv.close)
        evaluator = Evaluator(config)
        stack.callback(evaluator.close)
        watch = TrialWatch(config, evaluator, Stopwatch(), training, report)
        watch.model = model
        model.learn(config.n_timesteps, callback=watch)
        watch.evaluate()
