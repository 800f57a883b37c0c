"""The table of scores: an interrupted benchmark goes on, and only runs with today's settings count."""

import re
from dataclasses import replace

import pandas as pd
import pytest

import tuning
from benchmarks import async_scores, report
from benchmarks.async_scores import TARGETS, Target, finished_runs, main, planned, row, score
from tuning.config import zoo_environments

TINY = Target("a3c", "CartPole-v1", 475.0, 2, n_seeds=2, hyperparams={"n_timesteps": 64, "n_workers": 1})


class Run:
    """As much of a run folder as the table reads."""

    def __init__(self, *returns, before=()):
        self.status = {"num_timesteps": 300_000}
        self._rows = [(100, value) for value in before] + [(300_000, value) for value in returns]

    def evaluations(self):
        return pd.DataFrame(self._rows, columns=["num_timesteps", "return"])


@pytest.fixture
def written(monkeypatch):
    pages = []
    monkeypatch.setattr(async_scores, "TARGETS", {"tiny": TINY})
    monkeypatch.setattr(report, "write", lambda name, text: pages.append((name, text)))
    return pages


def test_a_run_scores_what_its_final_model_does_not_its_best():
    assert score(Run(480.0, 500.0, before=(500.0, 500.0))) == 490.0


def test_a_row_counts_the_seeds_that_reach_the_target():
    target = Target("asyncsarsa", "CartPole-v1", 475.0, 8)
    cells = [cell.strip() for cell in row(target, [Run(500.0), Run(475.0), Run(474.9)]).strip("|").split("|")]
    assert cells[:3] == ["asyncsarsa", "CartPole-v1", "300,000"]
    assert cells[5:] == ["474.9 to 500.0", "475", "2 of 3", "8 of 10"]


def test_a_stopped_benchmark_goes_on_with_the_seeds_that_are_missing(written, tmp_path, monkeypatch):
    train, trained = tuning.train, []

    def at_most_one(**arguments):
        if trained:
            raise KeyboardInterrupt
        return counted(**arguments)

    def counted(**arguments):
        trained.append(arguments["config"]["seed"])
        return train(**arguments)

    monkeypatch.setattr(tuning, "train", at_most_one)
    with pytest.raises(KeyboardInterrupt):
        main(["--runs-dir", str(tmp_path)])
    monkeypatch.setattr(tuning, "train", counted)
    main(["--runs-dir", str(tmp_path), "--only", "tiny"])
    assert trained == [0, 1]
    main(["--runs-dir", str(tmp_path)])
    assert trained == [0, 1], "finished runs were repeated"
    ((name, text), (_, again)) = written
    assert name == "async_scores.md"
    assert text == again
    assert re.search(r"\| 64 \|.*\| \d of 2 \| 2 of 2 \|", text)


def test_runs_of_settings_that_have_changed_since_do_not_count(tmp_path):
    one_seed = replace(TINY, n_seeds=1)
    tuning.train(config=planned(one_seed, 0).to_data(), runs_dir=tmp_path, progress=False)
    assert list(finished_runs(one_seed, tmp_path)) == [0]
    assert not finished_runs(replace(one_seed, hyperparams={**TINY.hyperparams, "gamma": 0.5}), tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_has_settings_in_the_zoo(name):
    assert TARGETS[name].env_id in zoo_environments(TARGETS[name].algo)
    config = planned(TARGETS[name], 3)
    assert (config.seed, config.eval_freq) == (3, config.n_timesteps)


def test_the_comparison_without_memory_has_the_lstms_settings_except_for_the_policy():
    with_memory, without = (planned(TARGETS[name], 0).to_data() for name in ("lstm-masked", "mlp-masked"))
    assert (with_memory.pop("policy"), without.pop("policy")) == ("MlpLstmPolicy", "MlpPolicy")
    assert with_memory["hyperparams"].pop("policy_kwargs") == {"lstm_hidden_size": 64}
    assert without["hyperparams"].pop("policy_kwargs") is None
    assert with_memory == without
