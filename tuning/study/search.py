"""What a search begins with, and what must not be its end."""

import optuna
from optuna.trial import TrialState

from tuning.errors import TrainingFailed
from tuning.study import attributes
from tuning.study.budgets import ended_trials
from tuning.study.config import StudyConfig
from tuning.study.objective import default_parameters


def enqueue_default(study: optuna.Study, config: StudyConfig) -> None:
    """Let the first trial be the default, as near as the search space allows; nothing where the study wants none."""
    if not config.enqueue_default:
        return
    parameters, moved = default_parameters(config)
    about = {attributes.DEFAULT: True, attributes.MOVED: {name: list(pair) for name, pair in moved.items()}}
    study.enqueue_trial(parameters, user_attrs=about)


def refuse_all_failed(study: optuna.Study) -> None:
    """Make sure that something can be concluded.

    Raises:
        TrainingFailed: trials have ended, and all of them failed; the message has the first cause.
    """
    ended = ended_trials(study.get_trials(deepcopy=False))
    failed = [trial for trial in ended if trial.state is TrialState.FAIL]
    if failed and len(failed) == len(ended):
        first = failed[0]
        cause = first.user_attrs.get(attributes.ERROR, "without a word")
        raise TrainingFailed(
            f"all {len(failed)} trials of the study {study.study_name} failed. The first one, trial {first.number}: "
            f"{cause} (its traceback is the trial's user attribute {attributes.TRACEBACK!r})"
        )
