"""Run folders to tables: what is counted, what is kept apart, and the numbers by hand."""

import io
import json
import math

import pandas as pd
import pytest
from rich.console import Console

from agents.errors import MissingExtraError
from tuning import cli, results
from tuning.cli.tables import print_summary
from tuning.errors import UsageError
from tuning.runs import RunFolder


def row_of(table: pd.DataFrame, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1, table
    return table.iloc[0]


# ---------------------------------------------------------------- the long table


def test_long_table_has_one_row_per_run_step_and_metric(make_run, tmp_path):
    make_run(curve={100: [10.0, 20.0], 200: [30.0, 50.0]}, steps_per_second=800.0)
    long = results.load(tmp_path / "runs")
    assert tuple(long.columns) == results.COLUMNS
    assert not long.duplicated(["path", "step", "metric"]).any()
    values = long.set_index(["step", "metric"])["value"]
    assert values[100, "return"] == 15.0
    assert values[200, "return"] == 40.0
    assert values[200, "n_episodes"] == 2
    assert values[100, "train_seconds"] == pytest.approx(0.1)
    assert values[200, "steps_per_second"] == 800.0
    assert row_of(long, metric="return", step=100)["reward_threshold"] == 475.0  # Gymnasium's, for CartPole-v1


def test_sampled_episodes_are_never_mixed_into_the_score(make_run, tmp_path):
    make_run(curve={100: [10.0]}, sampled={100: [500.0, 500.0], 200: [500.0]})
    long = results.load(tmp_path / "runs")
    values = long.set_index(["step", "metric"])["value"]
    assert values[100, "return"] == 10.0
    assert values[100, "sampled_return"] == 500.0
    run = results.runs(long).iloc[0]
    assert run["score"] == 10.0
    assert math.isnan(run["steps_to_threshold"])


def test_load_takes_a_root_a_run_or_a_list_and_counts_each_run_once(make_run, tmp_path):
    one, two = make_run(seed=0), make_run(seed=1)
    assert set(results.load(one)["seed"]) == {0}
    assert set(results.load(str(tmp_path / "runs"))["seed"]) == {0, 1}
    several = results.load([one, RunFolder(two), tmp_path / "runs"])
    assert len(several) == len(results.load([one, two]))


def test_load_refuses_a_folder_that_is_not_there_and_a_run_it_cannot_read(make_run, tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        results.load(tmp_path / "nowhere")
    (make_run() / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json"):
        results.load(tmp_path / "runs")


def test_a_folder_without_runs_gives_empty_tables_with_the_same_columns(make_run, tmp_path):
    empty = results.load(tmp_path)
    assert len(empty) == 0
    make_run()
    full = results.load(tmp_path)
    for table in (results.runs, results.summary, results.aggregate, results.pairwise):
        assert list(table(empty).columns) == list(table(full).columns)
        assert len(table(empty)) == 0


def test_reward_threshold_is_the_one_given_then_gymnasiums_and_else_missing(make_run, tmp_path):
    make_run(env="Pendulum-v1", curve={100: -260.0, 200: -240.0})
    make_run(env="CartPole-v1")
    make_run(env="Acrobot-v1")
    make_run(env="NotInstalled-v3")
    summary = results.summary(results.load(tmp_path, {"Pendulum-v1": -250, "CartPole-v1": 20}))
    assert row_of(summary, env="Acrobot-v1")["reward_threshold"] == -100
    pendulum = row_of(summary, env="Pendulum-v1")
    assert (pendulum["reward_threshold"], pendulum["reached"], pendulum["steps_to_threshold"]) == (-250, 1, 200)
    assert row_of(summary, env="CartPole-v1")["steps_to_threshold"] == 200  # the first with a mean of 20: not 15 at 100
    unknown = row_of(summary, env="NotInstalled-v3")
    assert math.isnan(unknown["reward_threshold"])
    assert pd.isna(unknown["reached"])  # not 0 of n: there is nothing to reach


# ---------------------------------------------------------------- one row a run


def test_score_is_the_final_model_never_the_best_checkpoint(make_run, tmp_path):
    make_run(curve={100: 500.0, 200: 480.0, 300: 90.0})
    run = results.runs(results.load(tmp_path)).iloc[0]
    assert run["score"] == 90.0
    assert run["auc"] == pytest.approx((490.0 + 285.0) / 2)
    assert run["steps_to_threshold"] == 100
    assert run["seconds_to_threshold"] == pytest.approx(0.1)


def test_an_unfinished_run_is_visible_without_a_score(make_run, tmp_path):
    make_run(seed=0)
    make_run(seed=1, status="failed", error_line="ValueError: no | luck")
    make_run(seed=2, status="interrupted")
    make_run(seed=3, status="failed", curve={}, error_line="died at once")
    table = results.runs(results.load(tmp_path)).set_index("seed")
    assert list(table["counted"]) == [True, False, False, False]
    assert list(table["score"].notna()) == [True, False, False, False]
    assert table.loc[1, "error_line"] == "ValueError: no | luck"
    assert table.loc[3, "num_timesteps"] == 0


# ---------------------------------------------------------------- summary


def test_summary_by_hand(make_run, tmp_path):
    for seed, final in enumerate([100.0, 500.0, 200.0, 480.0, 300.0]):
        make_run(seed=seed, curve={100: 0.0, 300: final}, steps_per_second=1000.0 + seed)
    row = results.summary(results.load(tmp_path)).iloc[0]
    assert (row["algo"], row["env"], row["variant"]) == ("a2c", "CartPole-v1", "")
    assert (row["n"], row["failures"], row["unfinished"]) == (5, 0, 0)
    assert row["mean"] == pytest.approx(316.0)
    assert row["median"] == 300.0
    assert row["iqm"] == pytest.approx((200 + 300 + 480) / 3)
    assert row["iqm_low"] < row["iqm"] < row["iqm_high"]
    assert (row["min"], row["max"]) == (100.0, 500.0)
    assert row["std"] == pytest.approx(math.sqrt((216**2 + 184**2 + 116**2 + 164**2 + 16**2) / 4))
    assert row["auc"] == pytest.approx(158.0)  # from 0 to the final value: half of it
    assert row["reached"] == 2
    assert math.isnan(row["steps_to_threshold"])  # 2 of 5: the median run never got there
    assert row["steps_per_second"] == 1002.0
    assert (row["n_timesteps"], row["n_envs"], row["n_workers"]) == (200, 1, 1)


def test_failed_running_and_interrupted_runs_stay_visible_and_are_not_counted_as_finished(make_run, tmp_path):
    make_run(seed=0, curve={100: 1.0, 200: 10.0})
    make_run(seed=1, curve={100: 1.0, 200: 500.0}, status="failed")
    make_run(seed=2, curve={100: 500.0}, status="interrupted")
    row = results.summary(results.load(tmp_path)).iloc[0]
    assert (row["n"], row["failures"], row["unfinished"]) == (1, 1, 1)
    assert row["mean"] == row["max"] == 10.0
    assert math.isnan(row["iqm_low"])


def test_an_algorithm_whose_runs_all_failed_keeps_its_row(make_run, tmp_path):
    make_run("ppo", seed=0, status="failed", curve={})
    make_run("a2c", seed=0)
    summary = results.summary(results.load(tmp_path))
    row = row_of(summary, algo="ppo")
    assert (row["n"], row["failures"]) == (0, 1)
    assert math.isnan(row["mean"])
    assert row_of(summary, algo="a2c")["n"] == 1


def test_a_run_made_twice_is_no_second_sample(make_run, tmp_path):
    make_run(seed=0, curve={200: 10.0}, created="2026-01-01T00:00:00+00:00")
    make_run(seed=0, curve={200: 30.0}, created="2026-01-02T00:00:00+00:00", suffix="-2")
    make_run(seed=1, curve={200: 50.0})
    row = results.summary(results.load(tmp_path)).iloc[0]
    assert row["n"] == 2
    assert row["mean"] == 40.0  # the later of the two


def test_a_seed_that_failed_and_was_run_again_is_finished_and_its_failure_still_shown(make_run, tmp_path):
    make_run(seed=0, status="failed")
    make_run(seed=0, suffix="-2")
    make_run(seed=1, status="interrupted")
    make_run(seed=1, suffix="-2")
    row = results.summary(results.load(tmp_path)).iloc[0]
    assert (row["n"], row["failures"], row["unfinished"]) == (2, 1, 0)


def test_different_settings_of_one_algorithm_are_not_pooled(make_run, tmp_path):
    for seed in range(3):
        make_run(seed=seed, hyperparams={"n_steps": 5, "gamma": 0.99}, curve={200: 10.0 + seed})
        make_run(seed=seed, hyperparams={"n_steps": 20, "gamma": 0.99}, curve={200: 90.0 + seed})
        make_run("ppo", seed=seed, hyperparams={"n_steps": 64})
    summary = results.summary(results.load(tmp_path))
    assert row_of(summary, algo="a2c", variant="n_steps=5")["mean"] == 11.0
    assert row_of(summary, algo="a2c", variant="n_steps=20")["mean"] == 91.0
    assert row_of(summary, algo="ppo")["variant"] == ""  # nothing to tell apart


def test_another_budget_is_another_variant_and_so_is_a_setting_left_out(make_run, tmp_path):
    make_run(n_timesteps=200)
    make_run(n_timesteps=400)
    make_run("ppo", hyperparams={"ent_coef": 0.1})
    make_run("ppo", hyperparams={})
    variants = results.summary(results.load(tmp_path)).groupby("algo")["variant"].apply(set)
    assert variants["a2c"] == {"n_timesteps=200", "n_timesteps=400"}
    assert variants["ppo"] == {"ent_coef=0.1", "ent_coef unset"}


def test_modules_that_were_imported_make_no_variant(make_run, tmp_path):
    make_run("a2c", seed=0, import_modules=[])
    make_run("a2c", seed=1, import_modules=["a_module"])
    make_run("a2c", seed=0, hyperparams={"n_steps": 20}, import_modules=["a_module"])
    table = results.summary(results.load(tmp_path / "runs"))
    assert table[["variant", "n"]].to_dict("tight")["data"] == [["n_steps unset", 2], ["n_steps=20", 1]]


def test_a_variant_too_long_to_print_is_named_by_its_hash(make_run, tmp_path):
    path = make_run(hyperparams={"policy_kwargs": {"net_arch": list(range(30))}})
    make_run(hyperparams={"policy_kwargs": {"net_arch": [64]}})
    variants = set(results.summary(results.load(tmp_path))["variant"])
    assert path.name.partition("-")[2] in variants


def test_workers_and_environments_are_reported(make_run, tmp_path):
    make_run("a3c", hyperparams={"n_workers": 4}, n_envs=2)
    row = results.summary(results.load(tmp_path)).iloc[0]
    assert (row["n_envs"], row["n_workers"]) == (2, 4)


# ---------------------------------------------------------------- aggregate and pairwise


def test_aggregate_normalizes_each_environment_first(make_run, tmp_path):
    scale = results.REFERENCES["CartPole-v1"]
    for seed in range(2):
        make_run(seed=seed, env="CartPole-v1", curve={200: scale.reference})
        make_run(seed=seed, env="Twist-v0", curve={200: -50.0})
    references = {"Twist-v0": results.Reference(-100.0, 0.0)}
    row = results.aggregate(results.load(tmp_path), references).iloc[0]
    assert row["environments"] == "CartPole-v1, Twist-v0"
    assert row["n"] == 4
    assert row["mean"] == pytest.approx(0.75)  # 1 and 0.5
    assert row["optimality_gap"] == pytest.approx(0.25)
    # the two runs of an environment agree, so resampling within environments leaves nothing to vary
    assert (row["iqm_low"], row["iqm_high"]) == (pytest.approx(0.75), pytest.approx(0.75))


def test_aggregate_refuses_an_environment_without_reference_scores(make_run, tmp_path):
    make_run(env="Twist-v0")
    with pytest.raises(UsageError, match="Twist-v0 has no reference scores"):
        results.aggregate(results.load(tmp_path))
    with pytest.raises(UsageError, match="two different returns"):
        results.aggregate(results.load(tmp_path), {"Twist-v0": results.Reference(1.0, 1.0)})


def test_pairwise_by_hand(make_run, tmp_path):
    for seed, (a2c, ppo) in enumerate([(1.0, 2.0), (3.0, 3.0)]):
        make_run("a2c", seed=seed, curve={200: a2c})
        make_run("ppo", seed=seed, curve={200: ppo})
    table = results.pairwise(results.load(tmp_path))
    assert len(table) == 1  # one environment: no row over all
    row = table.iloc[0]
    assert (row["algo_x"], row["algo_y"], row["n_x"], row["n_y"]) == ("a2c", "ppo", 2, 2)
    assert row["probability"] == 0.375
    assert 0.0 <= row["low"] < 0.375 < row["high"] <= 1.0


def test_pairwise_over_environments_uses_only_shared_ones(make_run, tmp_path):
    for env, a2c, ppo in (("CartPole-v1", 1.0, 0.0), ("Acrobot-v1", -500.0, -100.0)):
        make_run("a2c", env=env, curve={200: a2c})
        make_run("ppo", env=env, curve={200: ppo})
    make_run("a2c", env="Pendulum-v1")
    table = results.pairwise(results.load(tmp_path)).set_index("env")["probability"]
    assert table.to_dict() == {"Acrobot-v1": 0.0, "CartPole-v1": 1.0, "(all)": 0.5}


# ---------------------------------------------------------------- files


@pytest.fixture
def summary(make_run, tmp_path):
    for seed in range(3):
        make_run("a2c", seed=seed, curve={100: 1.0, 200: 400.0 + seed})
        make_run("ppo", seed=seed, curve={100: 1.0, 200: 401.0 + seed})
        make_run("trpo", seed=seed, curve={100: 1.0, 200: 100.0 + seed})
    make_run("a2c", seed=9, status="failed")
    return results.summary(results.load(tmp_path))


def test_csv_and_json_carry_the_numbers_as_they_are(summary, tmp_path):
    results.to_file(summary, "csv", tmp_path / "deep" / "table.csv")
    back = pd.read_csv(tmp_path / "deep" / "table.csv", keep_default_na=True)
    assert list(back.columns) == list(summary.columns)
    assert back["iqm_low"].tolist() == summary["iqm_low"].tolist()
    results.to_file(summary, None, tmp_path / "table.json")
    records = json.loads((tmp_path / "table.json").read_text())
    assert [record["algo"] for record in records] == ["a2c", "ppo", "trpo"]
    assert records[0]["steps_to_threshold"] is None
    assert records[0]["reached"] == 0
    assert records[0]["mean"] == 401.0


def test_markdown_marks_every_entry_whose_interval_overlaps_the_best(summary):
    lines = results.render(summary, "markdown").splitlines()
    headings = [cell.strip() for cell in lines[0].strip("|").split("|")]
    cells = [dict(zip(headings, (c.strip() for c in line.strip("|").split("|")), strict=True)) for line in lines[2:]]
    by_algo = {row["algo"]: row for row in cells}
    assert by_algo["ppo"]["IQM [95 %]"] == "**402.0 [401.0, 403.0]**"
    assert by_algo["a2c"]["IQM [95 %]"] == "**401.0 [400.0, 402.0]**"
    assert by_algo["trpo"]["IQM [95 %]"] == "101.0 [100.0, 102.0]"
    assert by_algo["a2c"]["failed"] == "1"
    assert by_algo["a2c"]["steps to it"] == "–"
    assert "variant" not in headings  # nothing to tell apart


def test_a_pipe_in_an_error_does_not_break_the_markdown_table(make_run, tmp_path):
    make_run(status="failed", error_line="a | b\nc")
    text = results.render(results.runs(results.load(tmp_path)), "markdown")
    assert r"a \| b c" in text
    assert len(text.splitlines()) == 3


def test_latex_and_html_escape_and_mark(summary, make_run, tmp_path):
    latex = results.render(summary, "latex")
    assert r"\toprule" in latex
    assert r"\textbf{402.0 [401.0, 403.0]}" in latex
    assert r"IQM [95 \%]" in latex
    html = results.render(summary, "html")
    assert "font-weight: bold" in html
    make_run("a2c", seed=77, status="failed", error_line="<b> & _x_")
    runs = results.runs(results.load(tmp_path))
    assert "&lt;b&gt; &amp; _x_" in results.render(runs, "html")
    assert r"<b> \& \_x\_" in results.render(runs, "latex")


def test_parquet_round_trips_or_names_the_extra(summary, tmp_path):
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"actorzoo\[parquet\]"):
            results.to_file(summary, "parquet", tmp_path / "table.parquet")
        assert not (tmp_path / "table.parquet").exists()
    else:
        results.to_file(summary, "parquet", tmp_path / "table.parquet")
        assert pd.read_parquet(tmp_path / "table.parquet")["mean"].tolist() == summary["mean"].tolist()


def test_every_table_is_written_in_every_text_format(summary, make_run, tmp_path):
    long = results.load(tmp_path)
    for table in (long, results.runs(long), summary, results.aggregate(long), results.pairwise(long)):
        for fmt in sorted(set(results.FORMATS) - {"parquet"}):
            assert results.render(table, fmt)


def test_an_unknown_format_or_ending_is_refused_and_nothing_written(summary, tmp_path):
    with pytest.raises(UsageError, match="did you mean markdown"):
        results.to_file(summary, "markdwn", tmp_path / "table.md")
    with pytest.raises(UsageError, match="does not say its format"):
        results.to_file(summary, None, tmp_path / "table.xyz")
    assert not list(tmp_path.glob("table*"))


def test_one_run_alone_is_marked_best_without_an_interval(make_run, tmp_path):
    make_run("a2c", curve={200: 10.0})
    make_run("ppo", curve={200: 20.0})
    cells = results.readable(results.summary(results.load(tmp_path))).cells
    assert cells["IQM [95 %]"].tolist() == ["10.0", "20.0"]
    text = results.render(results.summary(results.load(tmp_path)), "markdown")
    assert "**20.0**" in text
    assert "**10.0**" not in text


# ---------------------------------------------------------------- the command


@pytest.fixture
def runs_dir(make_run, tmp_path):
    for seed in range(2):
        make_run("a2c", seed=seed, curve={100: 1.0, 200: 400.0 + seed})
        make_run("ppo", seed=seed, curve={100: 1.0, 200: 401.0 + seed})
        make_run("sac", seed=seed, env="Pendulum-v1", curve={100: -900.0, 200: -240.0 - seed})
    make_run("a2c", seed=9, status="failed", error_line="RuntimeError: out of luck")
    return tmp_path / "runs"


def run_cli(capsys, *arguments):
    code = cli.run(["results", *map(str, arguments)])
    return code, capsys.readouterr()


def test_terminal_shows_a_table_an_environment_and_what_score_means(runs_dir, capsys):
    code, shown = run_cli(capsys, runs_dir)
    assert code == 0
    assert "CartPole-v1, 200 steps, reward threshold 475" in shown.out
    assert "Pendulum-v1, 200 steps, no reward threshold" in shown.out
    assert "400.5 [400.0, 401.0]" in shown.out
    assert "never the best checkpoint" in shown.out


def test_a_narrow_terminal_loses_columns_and_no_digits(runs_dir):
    long = results.load(runs_dir)

    def shown(width):
        stream = io.StringIO()
        print_summary(results.summary(long), console=Console(file=stream, width=width, force_terminal=True))
        return stream.getvalue()

    assert "std" in shown(120)
    narrow = shown(80)
    assert "std" not in narrow
    for text in ("400.5 [400.0, 401.0]", "failed", "steps/s", "workers"):
        assert text in narrow
    assert "…" not in narrow


def test_formats_on_standard_output_and_in_files(runs_dir, tmp_path, capsys):
    code, shown = run_cli(capsys, runs_dir, "--format", "csv")
    assert code == 0
    assert shown.out.startswith("algo,variant,env,n,failures,")
    code, shown = run_cli(capsys, runs_dir, "--output", tmp_path / "table.md", "--table", "pairwise")
    assert (code, shown.out.strip()) == (0, str(tmp_path / "table.md"))
    assert "P(X > Y) [95 %]" in (tmp_path / "table.md").read_text()
    code, _ = run_cli(capsys, runs_dir, "--format", "csv", "--output", tmp_path / "table.txt")
    assert code == 0
    assert (tmp_path / "table.txt").read_text().startswith("algo,variant")
    code, _ = run_cli(capsys, runs_dir, "--table", "long", "--output", tmp_path / "long.csv")
    assert code == 0
    assert set(pd.read_csv(tmp_path / "long.csv")["metric"]) >= {"return", "steps_per_second"}


@pytest.mark.parametrize("table", ["summary", "runs", "long", "pairwise", "aggregate"])
def test_every_table_is_shown_on_the_terminal(runs_dir, capsys, table):
    code, shown = run_cli(capsys, runs_dir, "--table", table)
    assert code == 0
    assert "a2c" in shown.out


def test_thresholds_and_references_can_be_given(runs_dir, make_run, capsys):
    _, shown = run_cli(capsys, runs_dir, "--format", "json", "--threshold", "Pendulum-v1=-250")
    assert {row["env"]: row["reached"] for row in json.loads(shown.out)} == {"CartPole-v1": 0, "Pendulum-v1": 2}
    make_run("ppo", env="Twist-v0", curve={100: 0.0, 200: 5.0})
    code, _ = run_cli(capsys, runs_dir, "--table", "aggregate")
    assert code == 2
    code, shown = run_cli(
        capsys,
        runs_dir / "ppo" / "Twist-v0",
        "--table",
        "aggregate",
        "--format",
        "json",
        "--reference",
        "Twist-v0=0,10",
    )
    assert json.loads(shown.out)[0]["mean"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["."], "there are no runs in"),
        (["RUNS", "--format", "markdwn"], "did you mean markdown"),
        (["RUNS", "--output", "table.xyz"], "does not say its format"),
        (["RUNS", "--output", "table.json", "--format", "csv"], "--format csv, but --output table.json ends as json"),
        (["RUNS", "--table", "sumary"], "summary"),
        (["RUNS", "--threshold", "Pendulum-v1"], "an environment and a return"),
        (["RUNS", "--threshold", "Pendulum-v1=high"], "a return is a number"),
        (["RUNS", "--table", "aggregate", "--reference", "Twist-v0=1"], "takes two returns"),
    ],
)
def test_wrong_usage_exits_2_with_one_line_and_writes_nothing(
    runs_dir, tmp_path, monkeypatch, capsys, arguments, message
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    code, shown = run_cli(capsys, *(runs_dir if word == "RUNS" else word for word in arguments))
    assert code == 2
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("command", ["results", "plot"])
def test_a_file_that_cannot_be_written_is_one_line(runs_dir, tmp_path, capsys, command):
    (tmp_path / "file").write_text("precious")
    name = {"results": "out.csv", "plot": "out.png"}[command]
    (tmp_path / name).mkdir()
    for output, message in ((tmp_path / name, "is a folder"), (tmp_path / "file" / name, "file cannot be made")):
        assert cli.run([command, str(runs_dir), "--output", str(output)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert not list((tmp_path / name).iterdir())


def test_a_corrupted_run_is_named(runs_dir, capsys):
    file = next(runs_dir.rglob("evaluations.csv"))
    file.write_text("step,return\n1,2\n")
    code, shown = run_cli(capsys, runs_dir)
    assert code == 2
    assert str(file) in shown.err
