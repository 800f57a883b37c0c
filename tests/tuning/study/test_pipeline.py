"""Search, race, test and verdict with real runs, as short as they can be; and the command."""

import json
import os
import shlex
import signal
from contextlib import nullcontext

import optuna
import pytest

import tuning
from tuning.cli import run as run_command
from tuning.config import resolve
from tuning.errors import TrainingFailed, UsageError
from tuning.study import address, finals, pipeline, runner
from tuning.study.lost_trials import MAX_RETRIES
from tuning.study.seeds import Stage, stage_seeds

SHORT = {"n_timesteps": 40, "n_evaluations": 2, "eval_episodes": 1, "n_envs": 1, "race_top": 2}
SHORT |= {"race_seeds": 2, "test_seeds": 2}


@pytest.fixture
def train_here(monkeypatch):
    """Runs of race and test are trained in this process: starting one costs seconds."""
    trained = []

    def run_jobs(jobs, watcher, **_):
        for job in jobs:
            trained.append(job.config.seed)
            tuning.train(config=job.arguments[2], seed=job.config.seed, runs_dir=job.runs_dir, progress=False)

    monkeypatch.setattr(finals, "run_jobs", run_jobs)
    return trained


def test_from_search_to_verdict(tmp_path, train_here):
    settings = SHORT | {"trials": 3, "runs_dir": tmp_path}
    tuned = tuning.tune("a2c", "CartPole-v1", **settings)
    assert len(tuned.study.trials) == 3
    assert list(tuned.race["n"]) == [2, 2]
    race, test = (stage_seeds(0, stage, 2) for stage in (Stage.RACE, Stage.TEST))
    assert set(tuned.race_runs["seed"]) == set(race)
    assert set(tuned.test_runs["seed"]) == set(test)
    searched = {seed for trial in tuned.study.trials for seed in trial.user_attrs["result"]["seeds"]}
    assert not searched & {*race, *test}
    assert json.loads((tuned.folder / "verdict.json").read_text())["sentence"] == tuned.verdict.sentence
    # the winner's file is what train takes, and gives the test's score again
    assert resolve(config=tuned.winner_file) == tuned.winner
    again = tuning.train(config=tuned.winner_file, seed=test[1], runs_dir=tmp_path / "again", progress=False)
    winner = tuned.test_runs["candidate"].iloc[0]
    mine = tuned.test_runs.set_index(["candidate", "seed"]).loc[[(winner, test[1])], "score"]
    assert again.evaluations()["return"].iloc[-1] == mine.item()
    # once more: nothing is trained again
    n_runs = len(train_here)
    assert tuning.tune("a2c", "CartPole-v1", **settings).verdict == tuned.verdict
    assert len(train_here) == n_runs


def test_a_study_that_is_continued_keeps_its_settings(tmp_path, plan):
    pipeline.open_folder(plan(study_name="mine", trials=3), tmp_path)
    pipeline.open_folder(plan(study_name="mine", trials=9), tmp_path)
    with pytest.raises(UsageError, match=r"seed 0, not 1; .*--study-name"):
        pipeline.open_folder(plan(study_name="mine", seed=1), tmp_path)
    with pytest.raises(UsageError, match=r"base\.n_timesteps 100, not 200"):
        pipeline.open_folder(plan(study_name="mine", n_timesteps=200, n_evaluations=10), tmp_path)


def test_when_every_trial_fails_nothing_is_raced(tmp_path, train_by):
    def curve(config):
        raise RuntimeError("no luck")

    train_by(curve)
    with pytest.raises(TrainingFailed, match=r"all 2 trials .* RuntimeError: no luck"):
        tuning.tune("a2c", "CartPole-v1", **SHORT, trials=2, runs_dir=tmp_path)


def test_a_failed_run_loses_the_race(plan):
    import pandas as pd

    config = plan()
    names = ["trial 1", "trial 2"]
    taking_part = [finals.Candidate(name, config.base) for name in names]
    table = pd.DataFrame({"candidate": names, "objective": [float("nan"), -5.0]})
    assert finals.best_of(finals.Stage(table, table), taking_part, config).name == "trial 2"


def command(*words):
    return run_command(["tune", *words])


def test_the_command_says_what_it_found(tmp_path, train_here, capsys):
    words = "--algo a2c --env CartPole-v1 --trials 2 --n-timesteps 40 --n-evaluations 2 --eval-episodes 1 --race-top 1"
    words += " --test-seeds 2 --hyperparams n_envs:1 --space n_steps=power_of_two:4:8 --no-progress"
    assert command(*words.split(), "--runs-dir", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "The winner is " in out
    assert "actorzoo train --config" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--algo a2c --env CartPole-v2 --trials 1", "CartPole-v1"),
        ("--algo a2d --env CartPole-v1", "a2c"),
        ("--algo a2c --env CartPole-v1 --sampler tpee", "did you mean tpe"),
        ("--algo a2c --env CartPole-v1 --space n_steps", "NAME=TYPE"),
        ("--algo a2c --env CartPole-v1 --objective score", "--objective"),
        ("--algo a2c --env CartPole-v1 --test-seeds 1", "test-seeds"),
        ("--env CartPole-v1", "--algo"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, capsys, words, message):
    assert command(*words.split(), "--runs-dir", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


WORDS = "tune --algo a2c --env CartPole-v1 --trials 2 --n-timesteps 40 --n-evaluations 5 --race-top 1 --test-seeds 2"


def test_ctrl_c_is_one_line_with_the_command_that_continues_the_study(tmp_path, capsys, caplog, train_by, train_here):
    interruptions = [KeyboardInterrupt(), None, KeyboardInterrupt(), None]

    def curve(config):
        if interruptions and (interruption := interruptions.pop(0)):
            raise interruption
        return [1.0, 2.0, 3.0, 4.0, 5.0]

    train_by(curve)
    folder = tmp_path / "two  spaces"
    given = ["actorzoo", *WORDS.split(), "--hyperparams", "n_envs:1", "--runs-dir", str(folder), "--no-progress"]
    following = given
    for _ in range(2):  # in the first trial, and in a later one
        assert run_command(following[1:]) == 130
        begin, _, rest = capsys.readouterr().err.partition("continue with: ")
        assert begin == "actorzoo: interrupted; what has finished is kept, "
        assert rest.endswith("\n")
        assert rest.count("\n") == 1
        following = shlex.split(rest)
        assert following == given
    assert not caplog.text, "Optuna logs what it takes for failures on stderr"
    assert run_command(following[1:]) == 0
    out = capsys.readouterr().out
    assert "The winner is " in out
    assert shlex.split(out.splitlines()[-1])[-1] == str(next(folder.rglob("winner.yml"))), "can be pasted as well"


def test_sigterm_ends_a_search_as_ctrl_c_does_and_counts_as_no_death_of_its_trial(tmp_path, capsys, train_by):
    def curve(config):
        os.kill(os.getpid(), signal.SIGTERM)  # from a batch system, which may do so any number of times
        raise AssertionError("the signal did nothing")

    train_by(curve)
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(MAX_RETRIES + 2):
        assert run_command([*WORDS.split(), "--runs-dir", str(tmp_path), "--no-progress"]) == 130
        assert capsys.readouterr().err.startswith(
            "actorzoo: terminated by SIGTERM; what has finished is kept, continue"
        )
    assert signal.getsignal(signal.SIGTERM) == before


def test_interrupted_workers_tell_the_command_that_continues_without_its_password(tmp_path, capsys, monkeypatch):
    def run_workers(*_, **__):
        raise KeyboardInterrupt("SIGINT received")

    monkeypatch.setattr(runner, "run_workers", run_workers)
    monkeypatch.setattr(runner.StudyAddress, "storage", optuna.storages.InMemoryStorage())
    monkeypatch.setattr(address, "exclusive", lambda *_: nullcontext())
    storage = ["--storage", "postgresql://zoo:p@ss@localhost/db"]
    given = [*WORDS.split(), "--jobs", "2", "--runs-dir", str(tmp_path), "--no-progress"]
    assert run_command([*given, *storage]) == 130
    following = f"actorzoo {' '.join(given)} --storage 'postgresql://zoo:***@localhost/db'"
    assert capsys.readouterr().err == (
        f"actorzoo: SIGINT received; what has finished is kept, continue with: {following}\n"
    )


def test_a_trial_that_fails_is_still_told_with_its_traceback(tmp_path, caplog, train_by, train_here):
    failures = [RuntimeError("no luck")]

    def curve(config):
        if failures:
            raise failures.pop()
        return [1.0, 2.0, 3.0, 4.0, 5.0]

    train_by(curve)
    assert run_command([*WORDS.split(), "--runs-dir", str(tmp_path), "--no-progress"]) == 0
    assert "Trial 0 failed" in caplog.text
    assert "RuntimeError: no luck" in caplog.text


def test_all_failed_is_exit_code_1_with_the_cause(tmp_path, capsys, train_by):
    def curve(config):
        raise RuntimeError("no luck")

    train_by(curve)
    words = "--algo a2c --env CartPole-v1 --trials 2 --n-timesteps 40 --no-progress"
    assert command(*words.split(), "--runs-dir", str(tmp_path)) == 1
    assert "RuntimeError: no luck" in capsys.readouterr().err
