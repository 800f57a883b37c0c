"""One trial: what it returns, what it remembers, and how it ends."""

import math
import pickle

import optuna
import pytest
from optuna.trial import TrialState

import tuning
from tuning.errors import TrainingFailed, UsageError
from tuning.study import attributes
from tuning.study.config import directions
from tuning.study.objective import Objective
from tuning.study.search import refuse_all_failed


def rate(config):
    return config.hyperparams["learning_rate"]


def test_a_trial_is_the_mean_of_its_last_evaluations_over_its_seeds(plan, train_by, run):
    config = plan(trials=1, seeds_per_trial=2, pruner="none")
    seeds = Objective.from_config(config).seeds
    train_by(lambda c: [0, 0, 1, 2, 3] if c.seed == seeds[0] else [0, 0, 3, 4, 5])
    trial = run(config).trials[0]
    assert trial.value == 3.0
    assert trial.user_attrs[attributes.RESULT][attributes.SCORES] == {"last_mean": [2.0, 4.0]}
    assert trial.user_attrs[attributes.RESULT][attributes.NUM_TIMESTEPS] == 200
    assert trial.user_attrs[attributes.RESULT][attributes.SEEDS] == seeds
    assert trial.intermediate_values == {20: 0, 40: 0, 60: 1, 80: 2, 100: 3, 120: 0, 140: 0, 160: 3, 180: 4, 200: 5}


def test_the_resolved_arguments_can_be_pasted_and_policy_kwargs_are_merged(plan, train_by, run):
    train_by(lambda c: [1] * 5)
    space = {"learning_rate": None, "policy_kwargs.net_arch": {"type": "net_arch", "choices": ["tiny"]}}
    config = plan(trials=2, hyperparams={"policy_kwargs.activation_fn": "relu", "n_steps": 7}, space=space)
    for trial in run(config).trials:
        arguments = trial.user_attrs[attributes.CONFIG]["hyperparams"]
        assert arguments["policy_kwargs"] == {"activation_fn": "relu", "net_arch": [64]}
        # the same run again, from what the trial remembers
        assert tuning.resolve(config=trial.user_attrs[attributes.CONFIG]).hyperparams == arguments


def test_the_first_trial_is_the_default(plan, train_by, run):
    train_by(lambda c: [rate(c)] * 5)
    first, second = run(plan(trials=2, hyperparams={"learning_rate": 0.25})).trials
    assert first.value == 0.25
    assert first.user_attrs[attributes.DEFAULT]
    assert attributes.DEFAULT not in second.user_attrs


def test_a_trial_that_raises_is_failed_with_its_traceback_and_the_search_goes_on(plan, train_by, run):
    def curve(config):
        if rate(config) == 0.25:
            raise AssertionError("the environment broke")
        return [1] * 5

    train_by(curve)
    study = run(plan(trials=3, hyperparams={"learning_rate": 0.25}))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    about = study.trials[0].user_attrs
    assert about[attributes.ERROR] == "AssertionError: the environment broke"
    assert "in curve" in about[attributes.TRACEBACK]
    refuse_all_failed(study)


def test_a_score_that_is_no_number_fails_with_its_cause(plan, train_by, run):
    train_by(lambda c: [1, 1, 1, math.nan, 1])
    trial = run(plan(trials=1)).trials[0]
    assert trial.state is TrialState.FAIL
    assert "the evaluation at step 80 gave NaN" in trial.user_attrs[attributes.ERROR]


def test_when_every_trial_failed_one_message_says_so_with_the_first_cause(plan, train_by, run):
    def curve(config):
        raise ValueError(f"cause {rate(config)}")

    train_by(curve)
    study = run(plan(trials=3, hyperparams={"learning_rate": 0.5}))
    with pytest.raises(
        TrainingFailed, match=r"all 3 trials .* failed\. The first one, trial 0: ValueError: cause 0\.5"
    ):
        refuse_all_failed(study)


def test_only_the_pruner_prunes(plan, train_by, run):
    train_by(lambda c: [rate(c)] * 5)
    config = plan(trials=20, pruner_options={"n_startup_trials": 2, "n_warmup_steps": 30})
    study = run(config)
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in study.trials:
        if trial.state is TrialState.PRUNED:
            assert attributes.ERROR not in trial.user_attrs
            assert (
                trial.user_attrs[attributes.RESULT][attributes.NUM_TIMESTEPS] == 40
            )  # the first evaluation after the warm-up
    none = run(plan(trials=20, pruner="none"))
    assert all(trial.state is TrialState.COMPLETE for trial in none.trials)


def test_a_trial_is_not_pruned_at_its_very_end(plan, train_by, run):
    train_by(lambda c: [0, 0, 0, 0, rate(c)])
    study = run(plan(trials=12, pruner_options={"n_startup_trials": 1, "n_warmup_steps": 0}))
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)


def test_the_wilcoxon_pruner_compares_seeds_and_saves_the_last_ones(plan, train_by, run):
    train_by(lambda c: [rate(c)] * 5)
    config = plan(trials=8, pruner="wilcoxon", seeds_per_trial=6, hyperparams={"learning_rate": 1.0})
    study = run(config)
    assert study.trials[0].value == 1.0
    assert list(study.trials[0].intermediate_values) == [0, 1, 2, 3, 4, 5]
    # 2 ** -4 < 0.1 <= 2 ** -3: the fourth seed is the first that can say so
    assert all(list(trial.intermediate_values) == [0, 1, 2, 3] for trial in study.trials[1:])
    assert all(trial.state is TrialState.PRUNED for trial in study.trials[1:])


def test_a_wilcoxon_pruner_that_could_never_prune_is_refused(plan):
    with pytest.raises(UsageError, match="at least 5 seeds a trial"):
        plan(pruner="wilcoxon", seeds_per_trial=4)


def test_minimizing_prunes_the_bad_ones_too(plan, train_by, run):
    train_by(lambda c: [0, 10 * rate(c), 10, 10, 10])
    config = plan(trials=15, objective="steps_to_threshold", threshold=5.0, pruner_options={"n_warmup_steps": 30})
    assert directions(config) == ["minimize"]
    study = run(config)
    pruned = [trial.params["learning_rate"] for trial in study.trials if trial.state is TrialState.PRUNED]
    # one that has arrived is never pruned, however many arrived with more: its score is known
    assert pruned
    assert max(pruned) < 0.5
    assert study.best_value == 40.0


def test_a_run_that_never_arrives_counts_as_twice_its_budget(plan, train_by, run):
    train_by(lambda c: [0] * 5)
    assert run(plan(trials=1, objective="steps_to_threshold", threshold=5.0)).best_value == 200.0


def test_several_objectives_give_a_pareto_front_and_no_pruning(plan, train_by, run):
    train_by(lambda c: [rate(c)] * 5)
    config = plan(trials=6, objective=["last_mean", "train_seconds"])
    assert config.pruner.name == "none"
    study = run(config)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(trial.state is TrialState.COMPLETE and len(trial.values) == 2 for trial in study.trials)
    assert study.best_trials


def test_a_constraint_on_time_excludes_the_slow_ones(plan, train_by, run):
    train_by(lambda c: [rate(c)] * 5)  # one second a run
    study = run(plan(trials=3, max_train_seconds=0.5))
    assert all(trial.constraints == {attributes.TIME_CONSTRAINT: 0.5} for trial in study.trials)
    with pytest.raises(ValueError, match="feasible"):
        _ = study.best_trial


def test_a_study_of_the_users_own_needs_the_right_direction(plan, train_by):
    train_by(lambda c: [rate(c)] * 5)
    objective = Objective.from_config(plan())
    with pytest.raises(UsageError, match="direction='maximize'"):
        optuna.create_study().optimize(objective, n_trials=1)
    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=2)
    assert len(study.trials) == 2


def test_same_seed_same_trials(plan, train_by, run):
    train_by(lambda c: [rate(c)] * 5)
    for sampler in ("tpe", "cmaes", "gp"):
        once, again = (run(plan(trials=12, sampler=sampler)) for _ in range(2))
        assert [t.params for t in once.trials] == [t.params for t in again.trials], sampler
        assert [t.value for t in once.trials] == [t.value for t in again.trials], sampler
        other = run(plan(trials=12, sampler=sampler, seed=1))
        assert [t.params for t in once.trials[1:]] != [t.params for t in other.trials[1:]], sampler


def test_a_study_that_goes_on_does_not_draw_again_what_it_has_drawn(plan, train_by, run, tmp_path):
    train_by(lambda c: [rate(c)] * 5)
    run(plan(trials=4, enqueue_default=False), tmp_path)
    study = run(plan(trials=8, enqueue_default=False), tmp_path)
    rates = [trial.params["learning_rate"] for trial in study.trials]
    assert len(rates) == len(set(rates)) == 8


def test_an_objective_travels_to_another_process(plan):
    objective = Objective.from_config(plan())
    assert pickle.loads(pickle.dumps(objective)).config == objective.config


def test_a_trial_trains_exactly_what_train_does(tmp_path):
    objective = tuning.Objective("a2c", "CartPole-v1", n_timesteps=120, n_evaluations=3, eval_episodes=2, n_envs=2)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=3))
    study.optimize(objective, n_trials=1)
    about = study.trials[0].user_attrs
    run_folder = tuning.train(config=about[attributes.CONFIG], runs_dir=tmp_path, progress=False)
    table = run_folder.evaluations().groupby("num_timesteps")["return"].mean()
    steps, means = about[attributes.RESULT][attributes.EVALUATIONS][0]
    assert (steps, means) == (list(table.index), list(table))
    assert about[attributes.RESULT][attributes.NUM_TIMESTEPS] == run_folder.status["num_timesteps"]


def test_workers_of_a_pruned_asynchronous_trial_are_gone(monkeypatch):
    # the fixture of all tests fails this one if a worker is left
    objective = tuning.Objective(
        "a3c", "CartPole-v1", n_timesteps=2000, n_evaluations=20, eval_episodes=1, hyperparams={"n_workers": 1}
    )
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=1e9))
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state is TrialState.PRUNED
    assert 0 < study.trials[0].user_attrs[attributes.RESULT][attributes.NUM_TIMESTEPS] < 2000
