"""What a user sees of a study: its trials as a table, its figures, its progress, its report."""

import io
import math

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from tuning.study import attributes
from tuning.study.config import read_study_config
from tuning.study.figures import write_figures
from tuning.study.pipeline import tune_study
from tuning.study.progress import StudyLines, TimeLeft, minutes, snapshot
from tuning.study.trial_table import trial_table, write_trial_table

SPACE = {"rate": FloatDistribution(1e-4, 1.0, log=True), "net": CategoricalDistribution(["small", "large"])}


def made(value=None, state=TrialState.COMPLETE, rate=0.1, net="small", **attrs):
    values = value if isinstance(value, list) else [value]
    return create_trial(
        state=state,
        values=values if value is not None else None,
        params={"rate": rate, "net": net},
        distributions=SPACE,
        user_attrs=attrs,
        intermediate_values={} if isinstance(value, list) else {1: 0.5},
    )


@pytest.fixture
def study():
    study = optuna.create_study(direction="maximize")
    for index, value in enumerate([1.0, 5.0, 3.0, 4.0, 2.0, 3.5]):
        done = {attributes.NUM_TIMESTEPS: 100 + index, attributes.TRAIN_SECONDS: 0.5}
        study.add_trial(made(value, rate=0.01 * (index + 1), net=["small", "large"][index % 2], result=done))
    study.add_trial(made(state=TrialState.FAIL, error="ValueError: the goblin", traceback="..."))
    study.add_trial(made(2.0, state=TrialState.PRUNED, rate=0.5))
    return study


def test_a_table_has_a_row_for_every_trial_with_settings_and_causes(study):
    table = trial_table(study, ["last_mean"])
    assert table["state"].tolist() == ["complete"] * 6 + ["failed", "pruned"]
    assert table["last_mean"].tolist()[:6] == [1.0, 5.0, 3.0, 4.0, 2.0, 3.5]
    assert table["rate"].tolist()[1] == 0.02
    assert table["net"].tolist()[:2] == ["small", "large"]
    assert table["num_timesteps"].tolist()[:2] == [100, 101]
    assert table["error"].tolist()[6] == "ValueError: the goblin"
    assert math.isnan(table["last_mean"].tolist()[6])


def test_a_table_is_written_in_the_formats_of_the_results(study, tmp_path):
    written = write_trial_table(trial_table(study), tmp_path, ["csv", "json", "markdown", "html", "latex"])
    assert [path.name for path in written] == ["trials.csv", "trials.json", "trials.md", "trials.html", "trials.tex"]
    assert pd.read_csv(written[0])["value"].tolist()[:2] == [1.0, 5.0]


def test_a_parameter_that_is_called_like_a_column_is_told_from_it():
    study = optuna.create_study()
    trial = create_trial(value=1.0, params={"error": 0.5}, distributions={"error": FloatDistribution(0, 1)})
    study.add_trial(trial)
    table = trial_table(study)
    assert table["params.error"].tolist() == [0.5]
    assert table["error"].tolist() == [""]


def test_every_figure_that_can_be_drawn_is_and_the_others_say_why_not(study, tmp_path):
    figures = write_figures(study, tmp_path, ["last_mean"])
    assert set(figures.skipped) == {"pareto_front"}
    assert "two or three objectives" in figures.skipped["pareto_front"]
    for name, path in figures.png.items():
        assert path.read_bytes().startswith(b"\x89PNG"), name
        assert "plotly" in figures.html[name].read_text(), name
    assert {"history", "intermediate_values", "importances", "slice", "contour", "timeline"} <= set(figures.png)


def test_a_study_of_one_trial_draws_little_and_leaves_no_figure_of_before(tmp_path):
    study = optuna.create_study(direction="maximize")
    study.add_trial(made(1.0))
    (tmp_path / "importances.png").write_bytes(b"old")
    figures = write_figures(study, tmp_path)
    assert "importances" in figures.skipped
    assert not (tmp_path / "importances.png").exists()
    assert "history" in figures.png


def test_several_objectives_have_a_pareto_front_and_no_intermediate_values(tmp_path):
    study = optuna.create_study(directions=["maximize", "minimize"])
    for index in range(5):
        study.add_trial(made([float(index), float(index)], rate=0.01 * (index + 1)))
    figures = write_figures(study, tmp_path, ["last_mean", "train_seconds"])
    assert "pareto_front" in figures.png
    assert "no intermediate values" in figures.skipped["intermediate_values"]


def test_progress_counts_trials_and_names_the_best_with_its_settings(study):
    now = snapshot(study, study.get_trials(), 20, ["last_mean"])
    assert (now.done, now.pruned, now.failed, now.running, now.ended) == (6, 1, 1, 0, 8)
    assert now.best_text == "best: trial 1, last_mean 5  rate=0.02  net=large"


def test_the_time_left_is_that_of_what_was_done_in_this_call():
    clock = iter([0.0, 60.0, 60.0])
    left = TimeLeft(lambda: next(clock))
    assert left(10, 20) is None  # ten were done before this call
    assert left(15, 20) == 60.0  # five in a minute, five to go
    assert left(15, None) is None
    assert [minutes(None), minutes(61), minutes(3661)] == ["-:--", "1:01", "1:01:01"]


def test_lines_tell_each_failure_once_with_its_cause(study):
    stream = io.StringIO()
    lines = StudyLines(8, ["last_mean"], stream)
    for _ in range(2):
        lines.progressed(study, study.get_trials())
    assert stream.getvalue().count("trial 6 failed: ValueError: the goblin") == 1
    assert "[8 of 8] 6 done, 1 pruned, 1 failed, 0 running" in stream.getvalue()


def test_a_tuned_study_leaves_a_report_with_verdict_settings_and_pictures(plan, tmp_path):
    config = plan(trials=3, race_top=2, race_seeds=2, test_seeds=2, n_evaluations=1, eval_episodes=1)
    tuned = tune_study(config, tmp_path)
    report = (tuned.folder / "report.md").read_text()
    assert tuned.verdict.sentence in report
    assert "A2C('MlpPolicy', env" in report or "the default itself" in report
    assert "![history](figures/history.png)" in report
    assert (tuned.folder / "figures" / "history.png").is_file()
    assert len(pd.read_csv(tuned.folder / "trials.csv")) == 3
    assert read_study_config(tuned.folder) == config
