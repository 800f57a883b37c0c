"""What is said of a search while it runs."""

import io

import optuna
from optuna.trial import TrialState, create_trial

from tuning.study.trial_lines import TrialLines


def test_each_trial_that_has_ended_has_one_line():
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=12.0))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "ValueError: no"}))
    study.add_trial(create_trial(state=TrialState.WAITING))
    stream = io.StringIO()
    lines = TrialLines(stream)
    lines.progressed(study, study.trials)
    lines.progressed(study, study.trials)
    assert stream.getvalue().splitlines() == ["trial 0: complete 12", "trial 1: failed: ValueError: no"]
