"""Populations of tiny runs: durable, repeatable, and with nothing lost on the way from model to model."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import agents
import tuning
from agents.persistence.statistics import statistics_of
from tuning.config import resolve
from tuning.errors import TrainingFailed, UsageError
from tuning.population import member, training
from tuning.population.member import Interval, train_interval
from tuning.population.plan import plan_population
from tuning.training import build_model

ROOT = Path(__file__).parents[3]
SPACE = {
    "learning_rate": {"type": "log", "low": 1e-5, "high": 1e-2},
    "n_steps": {"type": "power_of_two", "low": 4, "high": 64},
}
OTHERS = ("gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm", "normalize_advantage")


def train(folder, **settings):
    settings = {
        "n_timesteps": 768,
        "interval": 256,
        "population_size": 3,
        "eval_episodes": 2,
        "n_envs": 1,
        "space": SPACE | dict.fromkeys(OTHERS),
    } | settings
    return tuning.train_population("a2c", "CartPole-v1", runs_dir=folder, progress=False, **settings)


def parameters(path):
    return agents.load(path).policy.state_dict()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("population"))


def test_every_member_trains_every_interval_and_nothing_but_results_is_left(uninterrupted):
    table = uninterrupted.evaluations
    assert list(table["generation"]) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert list(table[table["generation"] == 3]["to_step"]) == [768, 768, 768]
    assert table["error"].isna().all()
    assert [path.name for path in (uninterrupted.folder / "checkpoints").iterdir()] == ["3"]
    assert agents.load(uninterrupted.model_file).num_timesteps == 768


def test_the_schedule_follows_the_winner_through_its_ancestors(uninterrupted):
    table = uninterrupted.evaluations.set_index(["generation", "member"])
    place = uninterrupted.winner
    for row in uninterrupted.schedule[::-1].itertuples():
        assert row.member == place
        assert row.learning_rate == table.loc[(row.generation, place), "learning_rate"]
        place = row.parent
    assert (uninterrupted.evaluations["parent"].dropna() != uninterrupted.evaluations["member"][3:]).any()
    written = yaml.safe_load(uninterrupted.schedule_file.read_text())["schedule"]
    assert written[0]["from_step"] == 0
    assert written[-1]["to_step"] == 768
    assert written[-1]["hyperparams"]["learning_rate"] == uninterrupted.schedule["learning_rate"].iloc[-1]


@pytest.mark.parametrize("after", [3, 4])  # between two generations, and inside of one
def test_a_killed_population_goes_on_to_the_same_end(uninterrupted, tmp_path, monkeypatch, after):
    calls = []

    def killed(interval):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(interval)
        return train_interval(interval)

    with monkeypatch.context() as patch:
        patch.setattr("tuning.population.workers.train_interval", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    again = train(tmp_path)
    assert again.evaluations.equals(uninterrupted.evaluations)
    assert again.final_return == uninterrupted.final_return
    one, other = parameters(again.model_file), parameters(uninterrupted.model_file)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_worker_processes_give_the_same_population(uninterrupted, tmp_path):
    assert train(tmp_path, n_jobs=2).evaluations.equals(uninterrupted.evaluations)


def test_evolution_keeps_the_elite_as_it_is(tmp_path):
    table = train(tmp_path, method="evolve", n_timesteps=512, mutation=1.0).evaluations
    first, second = (table[table["generation"] == g].reset_index() for g in (1, 2))
    best = first["return"].idxmax()
    assert second.loc[best, "parent"] == best
    assert second.loc[best, "learning_rate"] == first.loc[best, "learning_rate"]


def test_a_failed_member_is_replaced_and_a_population_of_failures_says_why(tmp_path, monkeypatch):
    def broken(model, *arguments):
        if broken.all_of_them or model.learning_rate == tuned_rate:
            raise FloatingPointError("diverged")

    tuned_rate = 0.0007
    broken.all_of_them = False
    monkeypatch.setattr(member, "_learn_until", broken)
    table = train(tmp_path, n_timesteps=512).evaluations
    assert table["error"][0] == "FloatingPointError: diverged"
    assert table["parent"][3] != 0
    broken.all_of_them = True
    with pytest.raises(TrainingFailed, match=r"all 3 members failed in generation 1.*diverged"):
        train(tmp_path, seed=1)


def interval(config, folder, source=None, hyperparams=None, target=128):
    return Interval(config, hyperparams or {}, 5, 6, target, source, folder)


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_statistics_moments_and_counters_are_carried_and_settings_are_new(tmp_path, algo):
    config = resolve(
        algo,
        "CartPole-v1",
        n_timesteps=512,
        n_envs=1,
        hyperparams={"n_steps": 64, "normalize.reward": True, "normalize.observation": True},
    )
    assert train_interval(interval(config, tmp_path / "1"))["error"] is None
    old = agents.load(tmp_path / "1" / "model.zip")
    changed = {"learning_rate": 0.004, "gamma": 0.5, "n_steps": 32}
    new = member._continued(tmp_path / "1", resolve(config=config.to_data(), hyperparams=changed, seed=9))
    for name, value in old.policy.state_dict().items():
        assert torch.equal(value, new.policy.state_dict()[name])
    state = new.policy.optimizer.state_dict()
    assert len(state["state"]) == len(old.policy.optimizer.state_dict()["state"]) > 0
    assert state["param_groups"][0]["lr"] == 0.004
    assert (new.num_timesteps, new._n_updates) == (128, old._n_updates)
    assert (new.gamma, new.n_steps, new.rollout_buffer.buffer_size) == (0.5, 32, 32)
    venv = new.get_vec_normalize_env()
    assert venv.gamma == 0.5
    before, after = statistics_of(old), statistics_of(new)
    for name in [key for key in before if "mean" in key or "var" in key or "count" in key]:
        assert np.array_equal(before[name], after[name])
    assert venv.obs_rms.count > 100
    venv.close()


@pytest.mark.parametrize(
    ("algo", "env", "change"),
    [
        ("sac", "Pendulum-v1", {"gamma": 0.9, "batch_size": 32}),
        ("dqn", "CartPole-v1", {"learning_rate": 0.002}),
        ("a3c", "CartPole-v1", {"learning_rate": 0.002, "gamma": 0.9}),
    ],
)
def test_replay_buffers_temperatures_and_shared_optimizers_are_carried(tmp_path, algo, env, change):
    few = {"buffer_size": 500, "learning_starts": 50, "train_freq": 4} if algo != "a3c" else {"n_workers": 1}
    config = resolve(algo, env, n_timesteps=512, hyperparams=few, eval_episodes=1)
    assert train_interval(interval(config, tmp_path / "1"))["error"] is None
    old = agents.load(tmp_path / "1" / "model.zip")
    new = member._continued(tmp_path / "1", resolve(config=config.to_data(), hyperparams=change))
    if algo == "sac":
        assert new.log_ent_coef.item() == old.log_ent_coef.item() != 0.0
    if algo != "a3c":
        assert new.replay_buffer.size() == 128
    second = train_interval(interval(config, tmp_path / "2", tmp_path / "1", change, target=256))
    assert second["error"] is None
    assert (second["from_step"], second["to_step"] >= 256) == (old.num_timesteps, True)


def test_schedules_see_the_progress_of_the_whole_run(tmp_path):
    schedule = {"learning_rate": {"schedule": "linear", "initial": 0.001}, "n_steps": 8}
    config = resolve("a2c", "CartPole-v1", n_timesteps=512, n_envs=1, hyperparams=schedule)
    model = build_model(config)
    member._learn_until(model, 256, 512)
    assert model.num_timesteps == 256
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0.0005)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": ["policy_kwargs.net_arch=net_arch:small,medium"]}, "net_arch shapes the network.*weights are not"),
        ({"space": ["use_rms_prop=categorical:true,false"]}, "use_rms_prop changes what is learned"),
        ({"space": ["n_envs=int:1:4"]}, "n_envs belongs to the environments"),
        ({"population_size": 1}, "size is 1"),
        ({"method": "pbtt"}, "did you mean pbt"),
        ({"interval": 0}, "interval is 0|eval_freq"),
        ({"n_jobs": 0}, "n_jobs is 0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        train(tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_the_zoo_s_architectures_stay_as_configured_and_are_named():
    fixed = plan_population("a2c", "CartPole-v1").fixed
    assert set(fixed) == {"policy_kwargs.net_arch", "policy_kwargs.activation_fn"}
    fixed = plan_population("sac", "Pendulum-v1").fixed
    assert {"use_sde", "sde_sample_freq", "policy_kwargs.net_arch"} <= set(fixed)


def test_a_replay_buffer_too_large_to_be_written_is_refused():
    with pytest.raises(UsageError, match="lower it with --hyperparams buffer_size"):
        plan_population("sac", "Pendulum-v1", hyperparams={"buffer_size": 10_000_000})


def test_one_process_at_a_time_works_on_a_folder(uninterrupted):
    with training._alone(uninterrupted.folder), pytest.raises(UsageError, match="another process works on"):
        train(uninterrupted.folder.parents[1])


def test_a_damaged_state_is_named(uninterrupted, tmp_path):
    first = train(tmp_path, n_timesteps=256)
    (first.folder / "state.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(UsageError, match=r"state.json cannot be read"):
        train(tmp_path, n_timesteps=256)


def test_the_command_shows_the_schedule_and_refuses_options_of_searches(tmp_path):
    from typer.testing import CliRunner

    from tuning.cli import app

    command = ["tune", "--method", "pbt", "--algo", "a2c", "--env", "CartPole-v1", "--runs-dir", str(tmp_path)]
    small = ["--n-timesteps", "128", "--interval", "64", "--population", "2", "--eval-episodes", "1", "--no-progress"]
    outcome = CliRunner().invoke(app, [*command, *small])
    assert outcome.exit_code == 0, outcome.output
    assert "policy_kwargs.net_arch shapes the network" in outcome.output
    assert "final.zip" in outcome.output
    refused = CliRunner().invoke(app, [*command, "--trials", "5"])
    assert refused.exit_code != 0
    assert "--trials belongs to --method search" in refused.output + str(refused.exception)


def test_ctrl_c_ends_the_workers_without_a_word_of_theirs_and_the_command_that_continues_is_told(tmp_path):
    words = "tune --method pbt --algo a2c --env CartPole-v1 --population 2 --n-timesteps 2000000 --interval 1000000"
    words += f" --jobs 2 --no-progress --runs-dir {tmp_path}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tuning", *words.split()],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while len(workers := workers_of(process.pid)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.0)  # they import, which is when they had most to say
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody gets it
        _, error = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert error == f"actorzoo: interrupted; what has finished is kept, continue with: actorzoo {words}\n"
    assert process.returncode == 130
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def workers_of(group):
    """Processes of a group that multiprocessing has spawned."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found
