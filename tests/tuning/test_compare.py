"""Comparisons: what is planned, what survives a crash, what is kept, what an interruption leaves behind.

Training is played by a script that writes a run folder the way the test asks for; two real trainings at the end show
that the command line is the right one.
"""

import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from tuning import cli, compare, results
from tuning.compare import child, jobs, schedule
from tuning.config import resolve
from tuning.errors import UsageError
from tuning.runs import RunFolder, process_identity

# A training in miniature, without any import that takes time: arguments are the run folder, run.json and what to do.
FAKE = """
import json, os, pathlib, signal, subprocess, sys, time
folder, about, config, behavior = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
print("OMP", os.environ["OMP_NUM_THREADS"], flush=True)
if behavior == "die-early":
    print("Traceback: nobody saw it coming", file=sys.stderr)
    sys.exit(3)
free, number = folder, 1
while free.exists():
    number += 1
    free = folder.with_name(f"{folder.name}-{number}")
folder = free
folder.mkdir(parents=True)
steps = about["n_timesteps"]
def status(word, done):
    content = {"status": word, "num_timesteps": done, "train_seconds": 2.0, "steps_per_second": done / 2.0}
    content |= {"pid": os.getpid(), "error": None, "error_line": None}
    (folder / "status.tmp").write_text(json.dumps(content))
    (folder / "status.tmp").replace(folder / "status.json")
(folder / "config.yml").write_text(config)
score = 10.0 * about["seed"] + len(about["algo"])
rows = "num_timesteps,train_seconds,episode,return,length,sampled"
for step in (steps // 2, steps):
    rows += f"\\n{step},{step / 100},0,{score},5,0"
(folder / "evaluations.csv").write_text(rows + "\\n")
status("running", steps // 2)
(folder / "run.tmp").write_text(json.dumps(about | {"run_id": folder.name}))
(folder / "run.tmp").replace(folder / "run.json")
if behavior == "crash":
    print("ValueError: the last line", file=sys.stderr)
    sys.exit(1)
if behavior == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if behavior == "leave":
    sys.exit(0)
if behavior in ("hang", "stubborn"):
    if behavior == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    (folder / "pids").write_text(f"{os.getpid()} {worker.pid}")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        status("interrupted", steps // 2)
        sys.exit(130)
if behavior == "orphan":
    worker = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    (folder / "pids").write_text(str(worker.pid))
status("finished", steps)
"""


@pytest.fixture
def fake(tmp_path):
    """A launcher of pretended trainings: behavior by (algo, seed), "finish" otherwise; remembers what it launched."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)

    class Launcher:
        def __init__(self):
            self.behavior, self.launched = {}, []

        def __call__(self, job):
            self.launched.append(job.label)
            config = job.config
            about = {"format": 1, "algo": config.algo, "env": config.env, "seed": config.seed}
            about |= {"n_timesteps": config.n_timesteps, "created": "2026-01-01T00:00:00+00:00", "tags": {}}
            about |= {"versions": {"numpy": "2.4.0"}, "hardware": {}, "command": [], "reward_threshold": 475.0}
            behavior = self.behavior.get((config.algo, config.seed), "finish")
            text = yaml.safe_dump(config.to_data())
            return [sys.executable, "-S", str(script), str(job.path), json.dumps(about), text, behavior]

    return Launcher()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(schedule, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(schedule, "PROGRESS_SECONDS", 0.02)


def run_fake(fake, tmp_path, algos=("a2c", "ppo"), seeds=2, **options):
    options = {"n_timesteps": 200, "runs_dir": tmp_path / "runs", "launcher": fake} | options
    return compare.compare(algos, ["CartPole-v1"], seeds, **options)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pids, seconds=5.0) -> bool:
    """Whether all processes have ended; a killed one needs a moment to be cleared away."""
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(alive(pid) for pid in pids)


# ---------------------------------------------------------------- the plan


def test_algorithms_alternate_so_that_a_slow_hour_slows_all_of_them(tmp_path):
    planned = compare.plan(["ppo", "A2C", "ppo"], ["CartPole-v1", "Acrobot-v1"], [3, 4], runs_dir=tmp_path)
    assert [(job.config.algo, job.config.env, job.config.seed) for job in planned] == [
        (algo, env, seed) for seed in (3, 4) for env in ("CartPole-v1", "Acrobot-v1") for algo in ("ppo", "a2c")
    ]


def test_an_asynchronous_run_keeps_its_workers_cores_busy(tmp_path):
    hyperparams = {"a3c.n_workers": 3}
    planned = compare.plan(["a3c", "a2c"], ["CartPole-v1"], [0], runs_dir=tmp_path, hyperparams=hyperparams)
    assert [job.cores for job in planned] == [3, 1]
    assert "n_workers" not in planned[1].config.hyperparams


def test_hyperparameters_are_for_all_or_for_one_algorithm(tmp_path):
    hyperparams = {"gamma": 0.5, "n_steps": 8, "a2c.n_steps": 16, "ppo.policy_kwargs.net_arch": [4]}
    ppo, a2c = compare.plan(["ppo", "a2c"], ["CartPole-v1"], [0], runs_dir=tmp_path, hyperparams=hyperparams)
    assert (ppo.config.hyperparams["n_steps"], a2c.config.hyperparams["n_steps"]) == (8, 16)
    assert ppo.config.hyperparams["gamma"] == a2c.config.hyperparams["gamma"] == 0.5
    assert ppo.config.hyperparams["policy_kwargs"]["net_arch"] == [4]
    assert "net_arch" not in a2c.config.hyperparams.get("policy_kwargs", {})


def test_the_command_line_gives_the_planned_configuration(tmp_path):
    """What was checked and what is trained must be the same, down to the run's name."""
    hyperparams = {"n_steps": 8, "learning_rate": {"schedule": "linear", "initial": 1e-05}, "n_envs": 2}
    (job,) = compare.plan(["a2c"], ["CartPole-v1"], [7], runs_dir=tmp_path, n_timesteps=64, hyperparams=hyperparams)
    arguments = list(job.arguments)
    assert arguments[0] == "train"
    assert arguments[-2:] == ["--seed", "7"]
    pairs = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--hyperparams"]
    from tuning.cli.options import parse_pairs

    again = resolve("a2c", "CartPole-v1", seed=7, n_timesteps=64, hyperparams=parse_pairs(pairs))
    assert again == job.config


@pytest.mark.parametrize(
    ("algos", "envs", "options", "message"),
    [
        (["pp0"], ["CartPole-v1"], {}, "ppo"),
        (["ppo"], ["CartPole-v9"], {}, "CartPole"),
        (["ppo", "dqn"], ["Pendulum-v1"], {}, "Box"),
        (["ppo"], ["CartPole-v1"], {"hyperparams": {"n_stepz": 5}}, "n_steps"),
        (["ppo"], ["CartPole-v1"], {"hyperparams": {"a2c.n_steps": 5}}, "a2c"),
        (["ppo"], ["CartPole-v1"], {"jobs": 0}, "at least one run"),
        ([], ["CartPole-v1"], {}, "no algo"),
        (["ppo"], ["CartPole-v1"], {"seeds": []}, "no seed"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(fake, tmp_path, algos, envs, options, message):
    with pytest.raises(UsageError, match=message):
        compare.compare(algos, envs, **{"runs_dir": tmp_path / "runs", "launcher": fake} | options)
    assert not fake.launched
    assert not (tmp_path / "runs").exists()


def test_a_file_in_the_place_of_the_runs_is_refused(fake, tmp_path):
    (tmp_path / "runs").write_text("precious")
    with pytest.raises(UsageError, match="runs cannot hold runs"):
        run_fake(fake, tmp_path, algos=["ppo"], seeds=1)
    assert not fake.launched
    assert (tmp_path / "runs").read_text() == "precious"


def test_unequal_budgets_are_said(tmp_path):
    planned = compare.plan(["a3c", "a2c"], ["CartPole-v1"], [0], runs_dir=tmp_path)
    (note,) = jobs.budget_notes(planned)
    assert "a3c 200,000, a2c 500,000" in note
    assert not jobs.budget_notes(compare.plan(["a3c", "a2c"], ["CartPole-v1"], [0], runs_dir=tmp_path, n_timesteps=100))


# ---------------------------------------------------------------- as many at once as fit


def test_jobs_start_while_their_cores_are_free_and_smaller_ones_go_ahead(tmp_path):
    def plan(*algos, workers=2):
        return compare.plan(
            algos,
            ["CartPole-v1"],
            [0],
            runs_dir=tmp_path,
            hyperparams={"a3c.n_workers": workers} if "a3c" in algos else {},
        )

    a3c, a2c, ppo = plan("a3c", "a2c", "ppo")
    assert schedule._startable([a3c, a2c, ppo], [], cores=2, at_once=None) == [a3c]
    assert schedule._startable([a3c, a2c, ppo], [], cores=3, at_once=None) == [a3c, a2c]
    assert schedule._startable([a3c, ppo], [a2c], cores=2, at_once=None) == [ppo]  # a3c waits, the core does not
    assert schedule._startable([a2c, ppo], [a3c], cores=2, at_once=None) == []
    (big,) = plan("a3c", workers=64)
    assert schedule._startable([big, a2c], [], cores=2, at_once=None) == [big]  # too big for the machine: alone
    assert schedule._startable([a3c, a2c, ppo], [], cores=1, at_once=2) == [a3c, a2c]  # as asked for


def test_no_more_runs_at_once_than_asked_for(fake, tmp_path):
    class Count(compare.Quiet):
        now = most = 0

        def started(self, job):
            self.now += 1
            self.most = max(self.most, self.now)

        def ended(self, outcome):
            self.now -= 1

    count = Count()
    run_fake(fake, tmp_path, jobs=3, display=lambda _: count)
    assert (count.now, count.most) == (0, 3)


def test_every_process_has_one_thread(fake, tmp_path):
    comparison = run_fake(fake, tmp_path, algos=["ppo"], seeds=1)
    assert (comparison.outcomes[0].run.path / "log.txt").read_text() == "OMP 1\n"


# ---------------------------------------------------------------- crashes


def test_one_crash_leaves_the_others_alone_and_stays_in_the_table(fake, tmp_path):
    fake.behavior = {("ppo", 0): "crash"}
    comparison = run_fake(fake, tmp_path, seeds=3)
    (failed,) = comparison.failed
    assert (failed.job.label, failed.status) == ("ppo CartPole-v1 seed 0", "failed")
    assert failed.error_line == "ValueError: the last line"
    assert "ValueError: the last line" in (failed.run.path / "log.txt").read_text()
    summary = results.summary(comparison.long).set_index("algo")
    assert summary.loc["ppo", ["n", "failures"]].tolist() == [2, 1]
    assert summary.loc["a2c", ["n", "failures"]].tolist() == [3, 0]
    report = comparison.files.report.read_text()
    assert "Failed runs" in report
    assert "ValueError: the last line" in report


@pytest.mark.parametrize(
    ("behavior", "error_line"),
    [
        ("die-early", "Traceback: nobody saw it coming"),  # before it had a folder
        ("kill", "killed by SIGKILL (out of memory?)"),
        ("leave", "the process ended without finishing its run"),
    ],
)
def test_a_run_that_cannot_tell_its_end_is_failed_with_the_reason(fake, tmp_path, behavior, error_line):
    fake.behavior = {("ppo", 1): behavior}
    comparison = run_fake(fake, tmp_path)
    (failed,) = comparison.failed
    assert failed.error_line == error_line
    run = RunFolder(failed.run.path)
    assert run.read()["seed"] == 1
    assert json.loads((run.path / "status.json").read_text())["status"] == "failed"  # for good, not while we look
    assert results.summary(comparison.long).set_index("algo").loc["ppo", "failures"] == 1


def test_a_comparison_whose_runs_all_fail_has_tables_and_no_picture(fake, tmp_path):
    fake.behavior = {("ppo", 0): "die-early", ("ppo", 1): "crash"}
    comparison = run_fake(fake, tmp_path, algos=["ppo"])
    assert len(comparison.failed) == 2
    assert not comparison.files.curves.exists()
    assert "![" not in comparison.files.report.read_text()
    assert results.summary(comparison.long)["failures"].tolist() == [2]


def test_what_a_run_leaves_running_is_ended_with_it(fake, tmp_path):
    fake.behavior = {("ppo", 0): "orphan"}
    comparison = run_fake(fake, tmp_path, algos=["ppo"], seeds=1)
    assert not comparison.failed
    assert gone([int((comparison.outcomes[0].run.path / "pids").read_text())])


# ---------------------------------------------------------------- once more


def test_finished_runs_are_kept_and_the_others_trained_again(fake, tmp_path):
    fake.behavior = {("ppo", 0): "crash", ("a2c", 1): "kill"}
    first = run_fake(fake, tmp_path)
    assert len(first.failed) == 2
    fake.behavior, fake.launched[:] = {}, []
    second = run_fake(fake, tmp_path)
    assert sorted(fake.launched) == ["a2c CartPole-v1 seed 1", "ppo CartPole-v1 seed 0"]
    assert not second.failed
    assert second.files == first.files
    summary = results.summary(second.long).set_index("algo")
    assert summary.loc["ppo", ["n", "failures"]].tolist() == [2, 1]  # the failed attempt stays visible
    fake.launched[:] = []
    run_fake(fake, tmp_path)
    assert not fake.launched


def test_more_seeds_add_to_the_comparison_and_other_settings_make_another(fake, tmp_path):
    first = run_fake(fake, tmp_path, algos=["ppo"], seeds=1)
    fake.launched[:] = []
    more = run_fake(fake, tmp_path, algos=["ppo"], seeds=2)
    assert fake.launched == ["ppo CartPole-v1 seed 1"]
    assert more.files == first.files
    assert results.summary(more.long)["n"].tolist() == [2]
    other = run_fake(fake, tmp_path, algos=["ppo"], seeds=1, n_timesteps=400)
    assert other.files != first.files
    assert results.summary(other.long)["variant"].tolist() == [""]  # runs of the first comparison are not in this one


def test_attempts_are_in_the_order_they_were_made(make_run, tmp_path):
    (job,) = compare.plan(["ppo"], ["CartPole-v1"], [0], runs_dir=tmp_path / "runs")
    for suffix in ("-10", "-x", "", "0", "-2"):
        make_run(suffix=suffix, **job.config.to_data())
    assert [run.path.name.removeprefix(job.path.name) for run in job.attempts()] == ["", "-2", "-10"]


def test_a_run_is_an_attempt_by_its_configuration_whatever_hash_its_name_has(make_run, tmp_path):
    """Names were hashes of more than counts today: what was trained then must not be trained again."""
    (job,) = compare.plan(["ppo"], ["CartPole-v1"], [0], runs_dir=tmp_path / "runs")
    config = job.config.to_data()
    earlier = make_run(**config | {"import_modules": ["a_module"]}, created="2025-01-01T00:00:00+00:00")
    earlier = earlier.rename(earlier.with_name("s0-0123abcd-7"))
    other = make_run(**config | {"n_timesteps": 7})
    latest = make_run(**config)
    assert [run.path for run in job.attempts()] == [earlier, latest]
    assert other.is_dir()


def test_the_import_of_a_module_trains_nothing_again(fake, tmp_path, make_module):
    first = run_fake(fake, tmp_path)
    fake.launched[:] = []
    again = run_fake(fake, tmp_path, import_modules=[make_module("registers_nothing", "")])
    assert not fake.launched
    assert results.summary(again.long)["variant"].tolist() == ["", ""]
    assert again.files == first.files


def test_a_run_that_another_process_is_training_is_left_alone(fake, tmp_path):
    fake.behavior = {("ppo", 0): "crash"}
    comparison = run_fake(fake, tmp_path, algos=["ppo"], seeds=1)
    file = comparison.outcomes[0].run.path / "status.json"
    status = json.loads(file.read_text()) | {"status": "running"}
    file.write_text(json.dumps(status | process_identity()))
    with pytest.raises(UsageError, match=f"being trained by process {os.getpid()}"):
        run_fake(fake, tmp_path, algos=["ppo"], seeds=1)
    # on another machine nobody can ask: a run of a container that is gone must not block its repetition for ever
    file.write_text(json.dumps(status | process_identity() | {"host": "elsewhere"}))
    fake.behavior = {}
    assert not run_fake(fake, tmp_path, algos=["ppo"], seeds=1).failed


# ---------------------------------------------------------------- interruption


class Interrupter(compare.Quiet):
    """Sends this process a signal once all the runs have folders and workers."""

    def __init__(self, number, n_runs):
        self.number, self.left = number, n_runs
        self.pids, self.paths = {}, []

    def progressed(self, job, progress):
        (run,) = job.attempts()
        if job.label not in self.pids and (run.path / "pids").is_file():
            pids = (run.path / "pids").read_text().split()
            if len(pids) == 2:
                self.pids[job.label] = [int(pid) for pid in pids]
                self.paths.append(run.path)
                if len(self.pids) == self.left:
                    os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_stops_every_process_and_marks_the_runs(fake, tmp_path, number):
    fake.behavior = {("a2c", 0): "hang", ("ppo", 0): "hang"}
    before = signal.getsignal(number)
    interrupter = Interrupter(number, 2)
    with pytest.raises(KeyboardInterrupt, match=number.name):
        run_fake(fake, tmp_path, jobs=2, display=lambda _: interrupter)
    assert gone([pid for pids in interrupter.pids.values() for pid in pids], seconds=1.0)
    assert [RunFolder(path).status["status"] for path in interrupter.paths] == ["interrupted", "interrupted"]
    assert len(fake.launched) == 2  # those that waited were not started
    assert signal.getsignal(number) == before
    fake.behavior, fake.launched[:] = {}, []
    assert not run_fake(fake, tmp_path).failed
    assert len(fake.launched) == 4


def test_an_interruption_is_answered_at_once(fake, tmp_path):
    stream = io.StringIO()

    class Both(Interrupter, compare.Lines):
        def __init__(self, planned):
            Interrupter.__init__(self, signal.SIGINT, 1)
            compare.Lines.__init__(self, planned, stream)

    fake.behavior = {("ppo", 0): "hang"}
    with pytest.raises(KeyboardInterrupt):
        run_fake(fake, tmp_path, algos=["ppo"], seeds=1, display=Both)
    assert stream.getvalue().endswith("stopping ppo CartPole-v1 seed 0 ...\n")


def test_a_run_that_does_not_stop_when_told_is_killed(fake, tmp_path, monkeypatch):
    fake.behavior = {("ppo", 0): "stubborn"}
    interrupter = Interrupter(signal.SIGINT, 1)
    (job,) = compare.plan(["ppo"], ["CartPole-v1"], [0], runs_dir=tmp_path / "runs", n_timesteps=200)
    with pytest.raises(KeyboardInterrupt):
        compare.run_jobs([job], interrupter, cores=1, command=fake, grace_seconds=0.2)
    assert gone(interrupter.pids[job.label], seconds=1.0)
    assert job.attempts()[0].status["status"] == "interrupted"


def test_a_second_signal_does_not_wait(fake, tmp_path):
    class Impatient(Interrupter):
        def progressed(self, job, progress):
            super().progressed(job, progress)
            if self.pids:
                os.kill(os.getpid(), self.number)

    fake.behavior = {("ppo", 0): "stubborn"}
    interrupter = Impatient(signal.SIGINT, 1)
    (job,) = compare.plan(["ppo"], ["CartPole-v1"], [0], runs_dir=tmp_path / "runs", n_timesteps=200)
    with pytest.raises(KeyboardInterrupt):
        compare.run_jobs([job], interrupter, cores=1, command=fake, grace_seconds=200)  # the test would time out
    assert gone(interrupter.pids[job.label], seconds=1.0)


def test_a_run_interrupted_before_it_had_a_folder_leaves_none(tmp_path):
    class AtOnce(compare.Quiet):
        def started(self, job):
            os.kill(os.getpid(), signal.SIGINT)

    (job,) = compare.plan(["ppo"], ["CartPole-v1"], [0], runs_dir=tmp_path / "runs", n_timesteps=200)
    sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    with pytest.raises(KeyboardInterrupt):
        compare.run_jobs([job], AtOnce(), cores=1, command=lambda _: sleep)
    assert not (tmp_path / "runs").exists()


def test_an_error_of_our_own_stops_the_runs_too(fake, tmp_path):
    class Broken(Interrupter):
        def progressed(self, job, progress):
            super().progressed(job, progress)
            if self.pids:
                raise RuntimeError("no display")

    fake.behavior = {("ppo", 0): "hang"}
    broken = Broken(0, 99)
    with pytest.raises(RuntimeError, match="no display"):
        run_fake(fake, tmp_path, algos=["ppo"], seeds=1, display=lambda _: broken)
    assert gone(broken.pids["ppo CartPole-v1 seed 0"], seconds=1.0)


# ---------------------------------------------------------------- what a user sees


def test_report_names_what_a_reader_needs(fake, tmp_path):
    comparison = run_fake(fake, tmp_path, command="actorzoo compare --algo a2c")
    report = comparison.files.report.read_text()
    for text in (
        "A2C against PPO on CartPole-v1",
        "actorzoo compare --algo a2c",
        "never the best checkpoint",
        "numpy 2.4",
    ):
        assert text in report
    assert f"![Learning curves]({comparison.files.curves.name})" in report
    for file in (comparison.files.curves, comparison.files.summary, comparison.files.runs, comparison.files.pairwise):
        assert file.is_file()
    assert comparison.files.folder == tmp_path / "runs" / "comparisons" / comparison.files.folder.name


def test_lines_say_what_starts_and_how_it_ends(fake, tmp_path):
    fake.behavior = {("ppo", 0): "crash"}
    stream = io.StringIO()
    run_fake(fake, tmp_path, seeds=1, display=lambda planned: compare.Lines(planned, stream))
    text = stream.getvalue()
    assert "a2c CartPole-v1 seed 0: started, 200 steps" in text
    assert "a2c CartPole-v1 seed 0: return 3.0 after 200 steps in 2.0 s, 100 steps/s" in text
    assert "ppo CartPole-v1 seed 0: failed after 100 steps in 2.0 s: ValueError: the last line (see " in text
    assert "[2/2]" in text


def test_bars_show_each_run_and_all_of_them(fake, tmp_path):
    fake.behavior = {("ppo", 0): "crash", ("ppo", 1): "die-early"}
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    run_fake(fake, tmp_path, display=lambda planned: compare.Bars(planned, console))
    text = stream.getvalue()
    assert "4 of 4 runs" in text
    assert "ValueError: the last line" in text
    assert "return 3.0 after 200 steps" in text


def cli_compare(tmp_path, *arguments):
    common = ["--algo", "a2c", "--algo", "ppo", "--env", "CartPole-v1", "--runs-dir", str(tmp_path / "runs")]
    return cli.run(["compare", *common, "--n-timesteps", "256", "--seeds", "2", "--no-progress", *arguments])


def test_the_command_exits_1_after_the_table_if_a_run_failed(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs.Job, "command", property(fake))
    fake.behavior = {("ppo", 1): "crash"}
    assert cli_compare(tmp_path) == 1
    out = capsys.readouterr().out
    assert "CartPole-v1, 256 steps, reward threshold 475" in out
    assert "ValueError: the last line" in out
    assert "Probability of improvement" in out
    for name in ("report.md", "curves.png", "results.csv"):
        assert name in out
    fake.behavior = {}
    assert cli_compare(tmp_path) == 0


def test_the_command_says_how_to_continue_after_ctrl_c(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs.Job, "command", property(fake))
    fake.behavior = {("a2c", 0): "hang"}
    interrupter = Interrupter(signal.SIGINT, 1)
    monkeypatch.setattr(compare, "quiet", lambda _: interrupter)
    assert cli_compare(tmp_path, "--jobs", "1", "--hyperparams", "n_steps:8", "ppo.n_epochs:2") == 130
    error = capsys.readouterr().err
    assert "continue with: actorzoo compare --algo a2c --algo ppo --env CartPole-v1 --runs-dir " in error
    assert error.endswith("--jobs 1 --hyperparams n_steps:8 ppo.n_epochs:2\n")
    assert len(error.splitlines()) == 1


def test_wrong_usage_exits_2_with_one_line(tmp_path, capsys):
    assert cli_compare(tmp_path, "--algo", "a4c") == 2
    assert cli_compare(tmp_path, "--env", "CartPole-v99") == 2
    assert cli_compare(tmp_path, "--hyperparams", "n_steps") == 2
    assert cli.run(["compare", "--algo", "ppo"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4
    assert not (tmp_path / "runs").exists()


def test_real_trainings_are_compared_end_to_end(tmp_path, capsys):
    assert cli_compare(tmp_path, "--seeds", "1", "--hyperparams", "n_envs:1", "n_steps:64", "eval_episodes:2") == 0
    out = capsys.readouterr().out
    assert "failed" in out
    long = results.load(tmp_path / "runs")
    summary = results.summary(long).set_index("algo")
    assert summary["n"].tolist() == [1, 1]
    assert summary["iqm"].between(1, 500).all()
    assert (summary["steps_per_second"] > 0).all()
    for run in long["path"].unique():
        assert (Path(run) / child.LOG).is_file()
        assert (Path(run) / "models" / "final.zip").is_file()
    assert cli_compare(tmp_path, "--seeds", "1", "--hyperparams", "n_envs:1", "n_steps:64", "eval_episodes:2") == 0
    assert results.load(tmp_path / "runs")["path"].nunique() == 2  # nothing was trained again
