"""Run folders: names, reading, and what a dead process leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.config import resolve
from tuning.errors import UsageError
from tuning.evaluation import EpisodeResult
from tuning.recorder import create_run
from tuning.runs import env_folder_name, find_runs, make_run_id, open_run, run_path


@pytest.fixture(scope="module")
def config():
    return resolve("ppo", "CartPole-v1", n_timesteps=100, seed=3)


@pytest.fixture
def recorder(config, tmp_path):
    return create_run(config, tmp_path / "runs", command=["actorzoo", "train"], tags={"study": "one"})


def test_environment_ids_become_folder_names():
    assert env_folder_name("CartPole-v1") == "CartPole-v1"
    assert env_folder_name("ALE/Pong-v5") == "ALE-Pong-v5"
    assert env_folder_name("module:Env-v0") == "module-Env-v0"


def test_a_runs_name_tells_its_seed_and_its_settings(config):
    data = config.to_data()
    name = make_run_id(3, data)
    assert name.startswith("s3-")
    assert len(name) == len("s3-") + 8
    assert int(name[3:], 16) >= 0
    assert make_run_id(4, data | {"seed": 4})[3:] == name[3:], "seeds of one configuration share their digits"
    assert make_run_id(3, data | {"n_timesteps": 101})[3:] != name[3:]
    assert make_run_id(3, dict(reversed(data.items()))) == name, "whatever the order of keys"
    assert make_run_id(3, data | {"import_modules": ["a_module"]}) == name, "whoever registered the environment"


def test_the_same_run_again_gets_a_number(config, tmp_path):
    names = [create_run(config, tmp_path).folder.path.name for _ in range(3)]
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]
    assert create_run(config, tmp_path, run_id="mine").folder.path == run_path(tmp_path, "ppo", "CartPole-v1", "mine")


@pytest.mark.parametrize("run_id", ["", "a/b", "..", ".hidden", "a b"])
def test_a_run_id_is_a_folders_name(config, tmp_path, run_id):
    with pytest.raises(UsageError, match="no folder's name"):
        create_run(config, tmp_path / "runs", run_id=run_id)
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_id_is_not_overwritten(config, tmp_path):
    first = create_run(config, tmp_path, run_id="mine")
    before = (first.folder.path / "run.json").read_text()
    with pytest.raises(UsageError, match="exists already; choose another --run-id"):
        create_run(config, tmp_path, run_id="mine")
    assert (first.folder.path / "run.json").read_text() == before


def test_a_runs_dir_that_cannot_be_written_is_a_usage_error(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be made .*choose another --runs-dir"):
        create_run(config, tmp_path / "file")


def test_a_new_run_says_what_it_is(recorder, config):
    run = open_run(recorder.folder.path)
    about = run.read()
    assert {key: about[key] for key in ("format", "algo", "env", "seed", "n_timesteps", "command", "tags")} == {
        "format": 1,
        "algo": "ppo",
        "env": "CartPole-v1",
        "seed": 3,
        "n_timesteps": 100,
        "command": ["actorzoo", "train"],
        "tags": {"study": "one"},
    }
    assert about["run_id"] == run.path.name == make_run_id(3, config.to_data())
    assert {"python", "torch", "stable-baselines3", "gymnasium", "numpy", "actorzoo"} <= about["versions"].keys()
    assert about["hardware"]["cores"] >= about["hardware"]["cores_available"] >= 1
    assert about["hardware"]["memory_bytes"] > 2**20
    assert resolve(config=run.config_path) == config
    assert run.config() == config.to_data()
    assert (run.status["status"], run.status["num_timesteps"], run.status["pid"]) == ("running", 0, os.getpid())
    assert run.evaluations().empty
    assert run.episodes().empty


def test_tables_come_back_as_they_were_written(recorder):
    recorder.add_evaluation(10, 0.5, [EpisodeResult(1.25, 3), EpisodeResult(-2.0, 4)], sampled=False)
    recorder.add_evaluation(10, 0.5, [EpisodeResult(7.0, 5)], sampled=True)
    recorder.add_episode(6, 0.25, 1.5, 6)
    assert recorder.folder.episodes().empty, "not before flush"
    recorder.flush()
    recorder.flush()
    table = recorder.folder.evaluations()
    assert table.to_dict("list") == {
        "num_timesteps": [10, 10, 10],
        "train_seconds": [0.5, 0.5, 0.5],
        "episode": [0, 1, 0],
        "return": [1.25, -2.0, 7.0],
        "length": [3, 4, 5],
        "sampled": [False, False, True],
    }
    assert table["sampled"].dtype == bool
    assert recorder.folder.episodes().to_dict("list") == {
        "num_timesteps": [6],
        "train_seconds": [0.25],
        "return": [1.5],
        "length": [6],
    }


def test_what_came_after_a_checkpoint_can_be_dropped(recorder):
    for step in (10, 20, 30):
        recorder.add_evaluation(step, 1.0, [EpisodeResult(float(step), 1)], sampled=False)
        recorder.add_episode(step, 1.0, float(step), 1)
    recorder.flush()
    recorder.forget_after(20)
    assert list(recorder.folder.evaluations()["num_timesteps"]) == [10, 20]
    assert list(recorder.folder.evaluations()["sampled"]) == [False, False]
    assert list(recorder.folder.episodes()["num_timesteps"]) == [10, 20]
    recorder.add_evaluation(25, 1.0, [EpisodeResult(1.0, 1)], sampled=False)
    assert list(recorder.folder.evaluations()["num_timesteps"]) == [10, 20, 25]


def test_half_a_line_left_by_a_killed_writer_is_no_row(recorder):
    recorder.add_evaluation(10, 0.5, [EpisodeResult(1.0, 3)], sampled=False)
    with (recorder.folder.path / "evaluations.csv").open("a") as file:
        file.write("20,1.0,0,12")  # cut off: 123.0 or 12.0?
    assert list(recorder.folder.evaluations()["num_timesteps"]) == [10]


@pytest.mark.parametrize("row", ["20,1.0,0\n", "20,x,0,1.0,3,0\n"])
def test_a_corrupted_table_is_a_usage_error(recorder, row):
    with (recorder.folder.path / "evaluations.csv").open("a") as file:
        file.write(row)
    with pytest.raises(UsageError, match=r"evaluations\.csv is corrupted"):
        recorder.folder.evaluations()


def test_runs_are_found_below_a_folder(config, tmp_path, recorder):
    other = create_run(config.model_copy(update={"env": "ALE/Pong-v5"}), tmp_path / "runs")
    (tmp_path / "runs" / ".trash").mkdir()
    os.rename(create_run(config, tmp_path / "elsewhere").folder.path, tmp_path / "runs" / ".trash" / "run")
    assert find_runs(tmp_path / "runs") == [other.folder, recorder.folder]
    assert find_runs(other.folder.path) == [other.folder]
    assert find_runs(tmp_path / "nowhere") == []


def test_a_folder_without_runs_is_refused(tmp_path, recorder):
    with pytest.raises(UsageError, match="is no folder"):
        open_run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is no run folder, it has no run"):
        open_run(tmp_path / "empty")
    with pytest.raises(UsageError, match=f"the nearest run below it is {recorder.folder.path}"):
        open_run(tmp_path / "runs")


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"format": 2}'])
def test_a_damaged_or_newer_run_json_is_refused(recorder, content):
    (recorder.folder.path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"run\.json") as error:
        open_run(recorder.folder.path)
    assert "\n" not in str(error.value)


def test_a_missing_model_is_named_with_those_there_are(recorder):
    with pytest.raises(UsageError, match="has no model 'final'; it has none yet"):
        recorder.folder.model_path()
    recorder.model_path("best").parent.mkdir()
    recorder.model_path("best").write_text("")
    with pytest.raises(UsageError, match="has no model 'final'; it has best"):
        recorder.folder.model_path("final")
    assert recorder.folder.model_path("best").name == "best.zip"


def test_a_run_whose_process_was_killed_is_shown_as_failed(config, tmp_path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tuning.recorder import Recorder\n"
        "from tuning.runs import RunFolder\n"
        "Recorder(RunFolder(Path(sys.argv[1]))).write_status('running', 5, 1.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = create_run(config, tmp_path).folder
    assert run.status["status"] == "running", "this process lives"
    subprocess.run([sys.executable, "-c", script, run.path], cwd=Path(__file__).parents[2], check=False)
    status = run.status
    assert status["status"] == "failed"
    assert "ended without a word: killed, or out of memory" in status["error_line"]
    assert json.loads((run.path / "status.json").read_text())["status"] == "running", "reading changes nothing"


def test_another_process_with_the_same_number_is_not_taken_for_the_run(recorder):
    path = recorder.folder.path / "status.json"
    status = json.loads(path.read_text())
    if status["pid_started"] is None:
        assert not Path("/proc/self/stat").exists()
        return
    path.write_text(json.dumps(status | {"pid_started": status["pid_started"] - 1}))
    assert recorder.folder.status["status"] == "failed"


def test_a_run_on_another_machine_is_believed(recorder):
    path = recorder.folder.path / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere", "pid": 2**22 + 1}))
    assert recorder.folder.status["status"] == "running"


def test_a_failure_is_recorded_with_traceback_and_last_line(recorder):
    try:
        raise ValueError("two\nlines") from KeyError("cause")
    except ValueError as error:
        recorder.write_status("failed", 7, 2.0, error)
    status = recorder.folder.status
    assert status["error_line"] == "ValueError: two lines"
    assert "Traceback" in status["error"]
    assert "KeyError: 'cause'" in status["error"]
    assert (status["steps_per_second"], status["num_timesteps"]) == (3.5, 7)


def test_a_checkpoint_is_noted_in_the_status_and_dropped_with_its_files(recorder):
    recorder.model_path("last").parent.mkdir()
    recorder.model_path("last").write_text("")
    recorder.replay_buffer_path.write_text("")
    recorder.note_checkpoint(40, 1.5)
    recorder.write_status("running", 45, 2.0)
    assert recorder.folder.status["checkpoint"] == {"num_timesteps": 40, "train_seconds": 1.5}
    recorder.drop_checkpoint()
    recorder.write_status("finished", 45, 2.0)
    assert recorder.folder.status["checkpoint"] is None
    assert list((recorder.folder.path / "models").iterdir()) == []


def test_a_status_is_never_half_written(recorder, monkeypatch):
    before = recorder.folder.status
    write = Path.write_text

    def write_half(path, text, **settings):
        write(path, text[: len(text) // 2], **settings)
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="disk full"):
        recorder.write_status("finished", 1, 1.0)
    assert recorder.folder.status == before
    assert not [path for path in recorder.folder.path.iterdir() if path.name.startswith(".")]
