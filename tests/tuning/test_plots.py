"""Learning curves: the drawn numbers are the statistics, and the picture says what it shows."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tuning import cli, plots, results
from tuning.errors import UsageError


def panel(figure, env):
    return next(axis for axis in figure.axes if axis.get_title("left") == env)


def line(axis, label):
    return next(one for one in axis.lines if one.get_label() == label)


def caption(figure):
    return " ".join(figure.get_supxlabel().split())


def test_line_is_the_iqm_over_runs_at_common_steps(make_run, tmp_path):
    for seed, final in enumerate([0.0, 100.0, 200.0, 1000.0]):
        make_run(seed=seed, curve={100: 10.0, 200: final})
    figure = plots.learning_curves(results.load(tmp_path))
    drawn = line(panel(figure, "CartPole-v1"), "A2C")
    np.testing.assert_array_equal(drawn.get_xdata(), [100, 200])
    np.testing.assert_allclose(drawn.get_ydata(), [10.0, 150.0])  # the mean would be 325
    mean = plots.learning_curves(results.load(tmp_path), statistic="mean")
    np.testing.assert_allclose(line(panel(mean, "CartPole-v1"), "A2C").get_ydata(), [10.0, 325.0])
    assert caption(mean).startswith("Lines: mean over n training runs")
    assert panel(figure, "CartPole-v1").get_title("right") == "n = 4 runs"


def test_runs_evaluated_at_other_steps_are_interpolated_not_extrapolated(make_run, tmp_path):
    make_run(seed=0, curve={100: 0.0, 200: 100.0, 300: 200.0})
    make_run(seed=1, curve={120: 20.0, 200: 100.0, 280: 180.0})
    drawn = line(panel(plots.learning_curves(results.load(tmp_path)), "CartPole-v1"), "A2C")
    np.testing.assert_allclose(drawn.get_xdata(), [120, 200, 280])
    np.testing.assert_allclose(drawn.get_ydata(), [20.0, 100.0, 180.0])


def test_band_spans_two_runs_and_a_single_run_has_none(make_run, tmp_path):
    make_run("a2c", seed=0, curve={100: 10.0, 200: 30.0})
    make_run("a2c", seed=1, curve={100: 20.0, 200: 50.0})
    make_run("ppo", seed=0, curve={100: 1.0, 200: 2.0})
    figure = plots.learning_curves(results.load(tmp_path))
    several, alone = panel(figure, "CartPole-v1").collections
    edges = several.get_paths()[0].vertices
    assert {tuple(point) for point in edges} >= {(100, 10), (100, 20), (200, 30), (200, 50)}
    assert not alone.get_paths()
    assert "none for a single run" in caption(figure)
    assert panel(figure, "CartPole-v1").get_title("right") == "n: A2C 2, PPO 1"


def test_seconds_axis_uses_the_seconds_of_training(make_run, tmp_path):
    make_run(seed=0, seconds_per_step=0.01, curve={100: 10.0, 200: 30.0})
    make_run(seed=1, seconds_per_step=0.02, curve={100: 10.0, 200: 30.0})
    figure = plots.learning_curves(results.load(tmp_path), x="seconds")
    axis = panel(figure, "CartPole-v1")
    np.testing.assert_allclose(
        line(axis, "A2C").get_xdata(), [2.0, 2.0][:1]
    )  # the slow one starts as the fast one ends
    assert "seconds" in axis.get_xlabel()


def test_runs_that_share_no_second_are_not_extrapolated_to_meet(make_run, tmp_path):
    make_run(seed=0, seconds_per_step=0.01)
    make_run(seed=1, seconds_per_step=1.0)
    figure = plots.learning_curves(results.load(tmp_path), x="seconds")
    assert line(panel(figure, "CartPole-v1"), "A2C").get_xdata().size == 0


def test_failed_and_unfinished_runs_are_left_out_and_counted_in_the_caption(make_run, tmp_path):
    make_run(seed=0, curve={100: 10.0, 200: 30.0})
    make_run(seed=1, curve={100: 500.0, 200: 500.0}, status="failed")
    make_run(seed=2, curve={100: 500.0, 200: 500.0}, status="interrupted")
    make_run(seed=3, curve={100: 500.0, 200: 500.0}, status="interrupted")
    make_run(seed=3, curve={100: 10.0, 200: 30.0}, suffix="-2")  # was made again, so nothing of it is missing
    figure = plots.learning_curves(results.load(tmp_path))
    np.testing.assert_allclose(line(panel(figure, "CartPole-v1"), "A2C").get_ydata(), [10.0, 30.0])
    assert "1 failed and 1 unfinished" in caption(figure)


def test_one_panel_an_environment_with_its_threshold_and_one_look_an_algorithm(make_run, tmp_path):
    for env in ("Acrobot-v1", "CartPole-v1", "Pendulum-v1"):
        for algo in ("a2c", "ppo"):
            make_run(algo, env=env)
    make_run("a2c", env="CartPole-v1", hyperparams={"n_steps": 64})
    figure = plots.learning_curves(results.load(tmp_path))
    assert [axis.get_title("left") for axis in figure.axes] == ["Acrobot-v1", "CartPole-v1", "Pendulum-v1"]
    colors = {to_hex(line(axis, "PPO").get_color()) for axis in figure.axes}
    assert len(colors) == 1
    levels = {axis.get_title("left"): [one.get_ydata()[0] for one in axis.lines][-1] for axis in figure.axes}
    assert levels["Acrobot-v1"] == -100.0
    assert levels["CartPole-v1"] == 475.0
    assert len(panel(figure, "Pendulum-v1").lines) == 2  # no threshold, none drawn
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["A2C", "A2C (n_steps unset)", "A2C (n_steps=64)", "PPO"]


def test_more_algorithms_than_colors_still_look_different(make_run, tmp_path):
    for algo in "abcdefghijk":
        make_run(algo)
    axis = plots.learning_curves(results.load(tmp_path)).axes[0]
    looks = {
        (one.get_color(), one.get_marker(), one.get_linestyle()) for one in axis.lines if one.get_label().isalpha()
    }
    assert len(looks) == 11


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_pictures_are_written_and_the_same_runs_give_the_same_file(make_run, tmp_path, suffix, magic):
    make_run(seed=0)
    make_run(seed=1)
    for name in ("one", "two"):
        plots.save(plots.learning_curves(results.load(tmp_path)), tmp_path / "deep" / f"{name}{suffix}")
    one, two = (tmp_path / "deep" / f"{name}{suffix}" for name in ("one", "two"))
    assert one.read_bytes().startswith(magic)
    assert one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in one.parent.iterdir()) == [one.name, two.name]


def test_what_cannot_be_drawn_is_refused(make_run, tmp_path):
    make_run(status="running")
    with pytest.raises(UsageError, match="no finished run to draw among 1"):
        plots.learning_curves(results.load(tmp_path))
    make_run(seed=1)
    with pytest.raises(UsageError, match="take one of steps, seconds"):
        plots.learning_curves(results.load(tmp_path), x="hours")
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        plots.save(plots.learning_curves(results.load(tmp_path)), tmp_path / "curves.bmp")
    assert not (tmp_path / "curves.bmp").exists()


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (950, "950"), (20_000, "20k"), (1_500_000, "1.5M"), (2e9, "2G")])
def test_short_numbers_for_ticks(value, text):
    assert plots.short_number(value) == text


def test_the_command_draws_beside_the_runs_or_where_it_is_told(make_run, tmp_path, capsys):
    make_run()
    assert cli.run(["plot", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "runs" / "curves.png")
    assert (tmp_path / "runs" / "curves.png").is_file()
    arguments = ["--output", str(tmp_path / "a.svg"), "--x", "seconds", "--statistic", "mean"]
    assert cli.run(["plot", str(tmp_path / "runs"), *arguments]) == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("arguments", [["--output", "a.bmp"], ["--x", "hours"], ["--threshold", "CartPole-v1"]])
def test_the_command_refuses_wrong_usage_in_one_line(make_run, tmp_path, monkeypatch, capsys, arguments):
    make_run()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["plot", "runs", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
