"""Configuration, scores, seeds, budgets, samplers, pruners and the verdict: each by itself."""

import datetime
import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from tuning import statistics
from tuning.errors import UsageError
from tuning.study import attributes
from tuning.study.budgets import busy_seconds, reason_to_stop
from tuning.study.config import Metric, read_study_config
from tuning.study.pruners import PRUNERS, make_pruner
from tuning.study.samplers import SAMPLERS, make_sampler
from tuning.study.scores import Evaluations, Scoring, over_seeds, score
from tuning.study.seeds import Stage, stage_seeds
from tuning.study.verdict import default_won, judge

RUN = Evaluations((100, 200, 400), ((0.0, 2.0), (10.0, 20.0), (30.0, 70.0)), 4.0)


def test_a_configuration_is_read_again_as_it_was_written(plan, tmp_path):
    config = plan(objective=["auc", "train_seconds"], sampler_options={"seed": 3}, hours=1.5, storage="sqlite:///x")
    config.write(tmp_path)
    assert read_study_config(tmp_path) == config
    assert read_study_config(tmp_path / "study.yml") == config


def test_a_damaged_configuration_is_named(plan, tmp_path):
    path = plan().write(tmp_path)
    path.write_text(path.read_text().replace("seeds_per_trial: 1", "seeds_per_trial: none"))
    with pytest.raises(UsageError, match=r"study\.yml, line \d+: seeds_per_trial"):
        read_study_config(path)


def test_the_name_is_that_of_the_settings_but_not_of_the_budget(plan):
    assert plan(trials=3).name == plan(trials=9, storage="elsewhere").name
    assert plan(seed=1).name != plan(seed=2).name


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("last_mean", (15 + 50) / 2),
        ("iqm", (20 + 30) / 2),  # of 10, 20, 30, 70
        ("auc", (100 * (1 + 15) / 2 + 200 * (15 + 50) / 2) / 300),
        ("steps_to_threshold", 200),
        ("train_seconds", 4.0),
    ],
)
def test_scores(metric, expected):
    assert score(Metric(metric), RUN, Scoring(2, 15.0, 400)) == pytest.approx(expected)


def test_no_score_is_the_best_of_several_evaluations():
    falling = Evaluations((1, 2, 3), ((100.0,), (0.0,), (0.0,)), 1.0)
    assert score(Metric.LAST_MEAN, falling, Scoring(2, None, 3)) == 0.0


def test_nan_in_nan_out():
    broken = Evaluations((1, 2), ((1.0,), (math.nan,)), 1.0)
    for metric in (Metric.LAST_MEAN, Metric.IQM, Metric.AUC, Metric.STEPS_TO_THRESHOLD):
        assert math.isnan(score(metric, broken, Scoring(1, 0.5, 2))), metric
    assert math.isnan(over_seeds(Metric.IQM, [1.0, math.nan]))


@given(st.integers(0, 2**31 - 1), st.integers(1, 12))
def test_no_seed_serves_two_stages(seed, n):
    stages = [stage_seeds(seed, stage, n) for stage in Stage]
    everything = [one for seeds in stages for one in seeds]
    assert len(set(everything)) == 3 * n
    assert all(0 <= one < 2**31 for one in everything)
    # disjoint by construction, not by luck
    assert all(one % 3 == stage for stage, seeds in zip(Stage, stages, strict=True) for one in seeds)
    assert stage_seeds(seed, Stage.TEST, n + 1)[:n] == stages[Stage.TEST]


def make_study(trials):
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        study.add_trial(trial)
    return study


def ended(value=None, state=TrialState.COMPLETE, steps=10, **about):
    return create_trial(
        state=state, value=value, user_attrs={attributes.RESULT: {attributes.NUM_TIMESTEPS: steps}} | about
    )


def test_lost_trials_do_not_count_and_failed_ones_do(plan):
    study = make_study([ended(1.0), ended(state=TrialState.FAIL), ended(state=TrialState.FAIL, lost="killed")])
    assert reason_to_stop(plan(trials=3), study) is None
    assert reason_to_stop(plan(trials=2), study) == "2 trials have ended"


def test_total_steps(plan):
    study = make_study([ended(1.0, steps=60), ended(2.0, steps=40)])
    assert reason_to_stop(plan(total_steps=101), study) is None
    assert reason_to_stop(plan(total_steps=100), study) == "100 environment steps were taken"


def test_patience_counts_from_the_best_trial(plan):
    study = make_study([ended(1.0), ended(3.0), ended(2.0), ended(state=TrialState.FAIL)])
    assert reason_to_stop(plan(patience=3), study) is None
    assert reason_to_stop(plan(patience=2), study) == "nothing improved in 2 trials"


def test_patience_ends_a_study_in_which_nothing_works(plan):
    study = make_study([ended(state=TrialState.FAIL)] * 4)
    assert reason_to_stop(plan(patience=4), study) == "nothing improved in 4 trials"


def test_hours_are_those_in_which_something_ran():
    def span(begin, end):
        trial = ended(1.0)
        start = datetime.datetime(2026, 1, 1)  # noqa: DTZ001 - Optuna's own have none
        trial.datetime_start = start + datetime.timedelta(hours=begin)
        trial.datetime_complete = start + datetime.timedelta(hours=end)
        return trial

    # two at a time for an hour, a pause of a day, one more hour
    assert busy_seconds([span(0, 2), span(1, 2), span(26, 27)]) == 3 * 3600


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_can_be_made(plan, name):
    make_sampler(plan(sampler=name))


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_can_be_made(plan, name):
    make_pruner(plan(pruner=name, seeds_per_trial=5))


def test_tpe_is_multivariate_and_grouped_where_the_space_is_conditional(plan):
    flat = make_sampler(plan(sampler="tpe"))
    assert (flat._multivariate, flat._group) == (True, False)
    conditional = {"vf_coef": {"type": "float", "low": 0, "high": 1, "when": {"normalize_advantage": True}}}
    choice = {"normalize_advantage": {"type": "categorical", "choices": [False, True]}}
    assert make_sampler(plan(sampler="tpe", space=choice | conditional))._group


def test_workers_draw_from_streams_of_their_own_but_share_one_sequence(plan):
    def first(sampler, worker):
        study = optuna.create_study(sampler=make_sampler(plan(sampler=sampler), worker))
        return study.ask().suggest_float("learning_rate", 0.0, 1.0)

    assert first("random", 0) != first("random", 1)
    assert make_sampler(plan(sampler="qmc"), 0)._seed == make_sampler(plan(sampler="qmc"), 1)._seed
    grids = [make_sampler(plan(sampler="grid"), worker)._all_grids for worker in (0, 1)]
    assert grids[0] == grids[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "tpee"}, "did you mean tpe"),
        ({"sampler": "optuna.samplers:Nothing"}, "cannot be imported"),
        ({"sampler": "optuna.pruners:MedianPruner"}, "subclass of BaseSampler"),
        ({"sampler_options": {"n_startup": 1}}, "refuses its options"),
        ({"sampler": "cmaes", "objective": ["auc", "train_seconds"]}, "takes one objective"),
        ({"pruner": "mdian"}, "did you mean median"),
        ({"pruner": "median", "objective": ["auc", "train_seconds"]}, "choose --pruner none"),
        ({"objective": "return"}, "--objective 'return' is not known"),
        ({"objective": ["auc", "auc"]}, "different ones"),
        ({"space": ["lerning_rate=log:1e-5:1e-2"]}, "learning_rate"),
        ({"space": ["n_steps=float:0.5:1.5"]}, "n_steps"),
        ({"space": ["seed=int:0:5"]}, "cannot be searched"),
        ({"trials": 0}, "greater than 0"),
        ({"study_name": "a/b"}, "name is 'a/b'"),
        ({"n_evaluations": 3, "eval_freq": 5}, "keep one"),
    ],
)
def test_mistakes_are_found_before_anything_starts(plan, settings, message):
    with pytest.raises(UsageError, match=message):
        plan(**settings)


def test_import_paths(plan):
    sampler = make_sampler(plan(sampler="optuna.samplers:RandomSampler"))
    assert isinstance(sampler, optuna.samplers.RandomSampler)
    assert isinstance(make_pruner(plan(pruner="optuna.pruners.NopPruner")), optuna.pruners.NopPruner)


def test_the_verdict_says_how_sure_one_can_be():
    better = judge([10, 11, 12, 13, 14], [1, 2, 3, 4, 5])
    assert better.sentence == "better than the default with probability 1.00 [1.00, 1.00], 5 seeds"
    assert better.low > 0.5
    worse = judge([1, 2, 3, 4, 5], [10, 11, 12, 13, 14])
    assert worse.sentence.startswith("worse than the default: better than it with probability 0.00")
    unclear = judge([1, 2, 3, 4], [1.5, 2.5, 3.5, 0.5, 2])
    assert unclear.sentence.startswith("not shown to be better than the default")
    assert unclear.low <= 0.5 <= unclear.high
    assert unclear.sentence.endswith("4 and 5 seeds")


def test_less_is_better_where_the_study_minimizes():
    assert judge([1, 2, 3], [10, 11, 12], maximize=False).probability == 1.0


def test_a_failed_run_loses_against_every_other():
    verdict = judge([None, 10, 10, 10], [1, 1, 1, 1])
    assert verdict.probability == 0.75
    assert verdict.failed_winner == 1
    assert verdict.sentence.endswith("4 seeds (1 of the winner's failed)")


def test_where_the_default_won_there_is_no_probability():
    verdict = default_won(30)
    assert verdict.sentence == "the default itself won the race: none of 30 trials was better"
    assert verdict.to_data()["probability"] is None


def test_the_prediction_interval_is_students():
    # mean 2, s = 1, n = 3, m = 5: 4.3027 sqrt(1/3 + 1/5)
    low, high = statistics.prediction_interval([1.0, 2.0, 3.0], 5)
    assert (low, high) == pytest.approx((2 - 3.1422, 2 + 3.1422), abs=1e-3)
    assert all(math.isnan(end) for end in statistics.prediction_interval([1.0], 5))
