"""The command line around one run: what it prints, writes and exits with."""

import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuning.cli import app, run
from tuning.cli.options import parse_pairs, repeat_options
from tuning.errors import UsageError, did_you_mean, nearest
from tuning.runs import find_runs

ROOT = Path(__file__).parents[2]
TRAIN = ["train", "--algo", "a2c", "--env", "CartPole-v1", "--n-timesteps", "40", "--eval-freq", "20"]
TRAIN += ["--eval-episodes", "2", "--no-progress"]


def command(capsys, *arguments):
    """Exit code, standard output, standard error."""
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's folder."""
    folder = tmp_path_factory.mktemp("runs")
    assert run([*TRAIN, "--runs-dir", str(folder)]) == 0
    (found,) = find_runs(folder)
    return found


def test_training_prints_the_score_and_where_it_lies(tmp_path, capsys):
    code, out, err = command(capsys, *TRAIN, "--seed", 3, "--runs-dir", tmp_path, "--tag", "study:one")
    assert (code, err) == (0, "")
    (found,) = find_runs(tmp_path)
    first, last = out.splitlines()
    assert re.fullmatch(
        r"40 steps in [\d.]+ s \(\d+ steps/s\); final return [\d.]+ ± [\d.]+ \(2 episodes, deterministic actions\)",
        first,
    )
    assert last == str(found.path)
    assert found.path.name.startswith("s3-")
    assert found.read()["tags"] == {"study": "one"}


def test_hyperparams_takes_several_values_and_options_may_follow(tmp_path, capsys):
    pairs = ["n_steps:10", "learning_rate:1e-3", "policy_kwargs.net_arch:[8, 8]", "n_envs:2"]
    code, _, err = command(capsys, *TRAIN, "--hyperparams", *pairs, "--run-id", "mine", "--runs-dir", tmp_path)
    assert (code, err) == (0, "")
    (found,) = find_runs(tmp_path)
    config = found.config()
    assert found.path.name == "mine"
    assert config["n_envs"] == 2
    assert config["hyperparams"] == {
        "ent_coef": 0.0,
        "n_steps": 10,
        "learning_rate": 0.001,
        "policy_kwargs": {"net_arch": [8, 8]},
    }


def test_a_runs_config_trains_the_same_run_again(finished, tmp_path, capsys):
    arguments = ["--config", finished.config_path, "--runs-dir", tmp_path, "--no-progress"]
    assert command(capsys, "train", *arguments)[0] == 0
    (again,) = find_runs(tmp_path)
    assert again.path.name == finished.path.name
    assert again.evaluations()["return"].equals(finished.evaluations()["return"])


def test_evaluate_says_how_good_and_how_it_was_measured(finished, capsys):
    code, out, err = command(capsys, "evaluate", finished.path, "--episodes", 3)
    assert (code, err) == (0, "")
    numbers = r"return [\d.]+ ± [\d.]+ \(min [\d.]+, max [\d.]+\), length [\d.]+"
    assert re.fullmatch(rf"{numbers}, 3 episodes, deterministic actions, final model\n", out)
    _, out, _ = command(capsys, "evaluate", finished.path, "--sampled", "--model", "best")
    assert "20 episodes, sampled actions, best model" in out


def test_watch_records(finished, tmp_path, capsys):
    code, out, _ = command(capsys, "watch", finished.path, "--record", tmp_path / "film.mp4")
    assert code == 0
    assert re.fullmatch(r"episode 1: return [\d.]+, \d+ steps\nvideo: .*film\.mp4\n", out)
    assert (tmp_path / "film.mp4").stat().st_size > 1000


def test_list_shows_algorithms_and_environments(capsys):
    code, out, _ = command(capsys, "list")
    assert code == 0
    for part in (
        "a3c",
        "PPO",
        "MultiDiscrete",
        "Schulman et al.",
        "MountainCarContinuous-v0",
        "a2c, a3c, dqn, ppo, trpo",
    ):
        assert part in out


def test_the_version_is_printed(capsys):
    from importlib.metadata import version

    assert command(capsys, "--version") == (0, f"actorzoo {version('actorzoo')}\n", "")


@pytest.mark.parametrize("name", sorted(str(one.name) for one in app.registered_commands))
def test_help_teaches_by_examples_each_on_a_line_of_its_own(capsys, monkeypatch, name):
    """Typer loses the indentation that makes lines an example where no paragraph stands before "For example:"."""
    monkeypatch.setenv("COLUMNS", "200")  # so that no example needs two lines
    code, out, _ = command(capsys, name, "--help")
    assert code == 0
    begin = "For example:"
    examples = out.partition(begin)[2].partition("╭")[0].split("\n")
    examples = [line.strip() for line in examples if line.strip()]
    assert name == "list" or examples
    written = [line.strip() for line in inspect.getdoc(command_called(name)).partition(begin)[2].splitlines()]
    assert examples == [line for line in written if line]


def command_called(name):
    return next(one.callback for one in app.registered_commands if one.name == name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--algo", "pppo", "--env", "CartPole-v1"], "Unknown algorithm 'pppo'; the nearest are ppo"),
        (["train", "--algo", "ppo", "--env", "CartPol-v1"], "did you mean CartPole-v1"),
        (["train", "--algo", "ppo"], "env is missing"),
        (
            ["train", "--algo", "sac", "--env", "CartPole-v1"],
            "CartPole-v1 has Discrete actions",
        ),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--hyperparams", "n_step:3"], "did you mean n_steps"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--hyperparams", "n_steps:x"], "must be int"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--hyperparams", "n_steps"], "it takes key:value"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--hyperparams", "a:1", "a:2"], "got a twice"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--hyperparams", "a:[1"], "no valid YAML"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--n-timesteps", "many"], "--n-timesteps"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--n-timesteps", "0"], "--n-timesteps"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--run-id", "a/b"], "no folder's name"),
        (["train", "--algo", "ppo", "--env", "CartPole-v1", "--device", "gpu0"], "torch does not know"),
        (["train", "--algo", "ppo", "--env", "HalfCheetah-v5"], 'pip install "actorzoo[mujoco]"'),
        (["train", "--config", "nowhere.yml"], "nowhere.yml cannot be read"),
        (["train", "--config", "corrupted.yml"], "corrupted.yml, line 2: this is no valid YAML"),
        (["train", "--config", "wrong.yml"], "wrong.yml, line 4: n_steps of PPO is 'ten'"),
        (["train", "--alg", "ppo"], "--alg"),
        (["tran"], "tran"),
        (["evaluate", "nowhere"], "nowhere is no folder"),
        (["evaluate", "empty"], "empty is no run folder, it has no run.json"),
        (["evaluate"], "'run'"),
        (["watch", "empty"], "is no run folder"),
        (["resume", "empty"], "is no run folder"),
    ],
)
def test_wrong_usage_gives_one_line_and_exit_code_2_and_writes_nothing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "corrupted.yml").write_text("algo: [ppo\n")
    (tmp_path / "wrong.yml").write_text("algo: ppo\nenv: CartPole-v1\nhyperparams:\n  n_steps: ten\n")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = command(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.startswith("actorzoo: ")
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_finished_is_not_resumed(finished, capsys):
    code, _, err = command(capsys, "resume", finished.path)
    assert code == 2
    assert "is finished" in err


FAILING = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class Failing(CartPoleEnv):
    steps = 0
    fail_at = 30

    def step(self, action):
        Failing.steps += 1
        if Failing.steps == self.fail_at:
            raise RuntimeError("the simulator exploded")
        return super().step(action)

gym.register("Failing-v0", Failing, max_episode_steps=20)
"""


def test_a_failure_gives_its_cause_and_exit_code_1_and_resume_finishes_the_run(tmp_path, make_module, capsys):
    make_module("failing_env", FAILING)
    arguments = ["--algo", "a2c", "--env", "Failing-v0", "--import-module", "failing_env", "--n-timesteps", "40"]
    code, out, err = command(capsys, "train", *arguments, "--runs-dir", tmp_path / "runs", "--no-progress")
    assert code == 1
    assert "a2c on Failing-v0 failed after" in err
    assert "RuntimeError: the simulator exploded" in err
    assert err.count("\n") == 1
    assert out == ""
    (found,) = find_runs(tmp_path / "runs")
    assert found.status["status"] == "failed"
    code, out, _ = command(capsys, "resume", found.path, "--no-progress")
    assert code == 0
    assert out.splitlines()[-1] == str(found.path)
    assert found.status["status"] == "finished"


def test_ctrl_c_saves_the_model_says_how_to_continue_and_exits_with_130(tmp_path):
    arguments = ["--algo", "a2c", "--env", "CartPole-v1", "--n-timesteps", "10000000", "--no-progress"]
    folder = tmp_path / "with  spaces"
    process = subprocess.Popen(
        [sys.executable, "-m", "tuning", "train", *arguments, "--runs-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (runs := find_runs(folder)) or runs[0].status["num_timesteps"] == 0:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    steps = runs[0].status["num_timesteps"]
    following = shlex.join(["actorzoo", "resume", str(runs[0].path)])
    assert err == f"actorzoo: interrupted after {steps} steps; to continue: {following}\n"
    assert out == ""
    assert runs[0].status["status"] == "interrupted"
    assert runs[0].model_path("last").is_file()


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from tuning.cli import run; code = run(['train', '--help']); "
        "heavy = {'torch', 'numpy', 'pandas', 'gymnasium', 'stable_baselines3'} & set(sys.modules); "
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_an_options_values_end_with_the_next_option_or_argument():
    assert repeat_options(["--hyperparams", "a:1", "b:2", "--seed", "3", "x:1"]) == [
        *("--hyperparams", "a:1", "--hyperparams", "b:2", "--seed", "3", "x:1")
    ]
    assert repeat_options(["--hyperparams", "a:1", "RUN", "b:2"]) == ["--hyperparams", "a:1", "RUN", "b:2"]
    assert repeat_options(["--hyperparams", "a:-1", "--hyperparams", "b:[1, 2]"]) == [
        *("--hyperparams", "a:-1", "--hyperparams", "b:[1, 2]")
    ]
    assert repeat_options(["a:1", "b:2"]) == ["a:1", "b:2"]


def test_pairs_are_read_as_yaml():
    assert parse_pairs(["a:1", "b: [2, x]", "c.d:1e-3", "e:", "f:g:h"]) == {
        "a": 1,
        "b": [2, "x"],
        "c.d": 0.001,
        "e": None,
        "f": "g:h",
    }
    with pytest.raises(UsageError, match="--tag got ':1', but it takes key:value"):
        parse_pairs([":1"], "--tag")


def test_nearest_names_ignore_case():
    assert nearest("cartpole-V1", ["CartPole-v1", "Acrobot-v1"])[0] == "CartPole-v1"
    assert did_you_mean("xyz", ["one", "two"]) == "allowed: one, two"
    assert did_you_mean("xyz", []) == "nothing is allowed here"


def test_the_installed_command_finds_modules_in_the_current_folder(tmp_path):
    (tmp_path / "of_this_folder.py").write_text("raise ImportError('found it')\n")
    # with -P, as with an installed command, the current folder is not on the path
    result = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "tuning",
            "train",
            *["--algo", "a2c", "--env", "X-v0", "--import-module", "of_this_folder"],
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "cannot be imported (found it)" in result.stderr
