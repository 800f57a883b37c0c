"""Watching a trained agent: as a video without a display, or in a window."""

import sys

import imageio_ffmpeg
import numpy as np
import pytest

from agents.errors import MissingExtraError
from tuning.environments import make_env
from tuning.errors import UsageError
from tuning.training import train
from tuning.watching import watch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return train("a2c", "CartPole-v1", n_timesteps=40, eval_freq=40, eval_episodes=1, runs_dir=folder, progress=False)


def frames_of(path):
    """The video's pictures, (height, width, 3) each."""
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["source_size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_a_video_shows_every_state_of_the_episodes(run, tmp_path, name):
    episodes = watch(run.path, record=tmp_path / name, episodes=2)
    frames = frames_of(tmp_path / name)
    assert [episode.value for episode in episodes] == [episode.length for episode in episodes]
    assert len(episodes) == 2
    assert len(frames) == sum(episode.length + 1 for episode in episodes), "each start and each step, nothing after"
    assert frames[0].shape == (400, 600, 3)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    # the first picture is that of the start, up to what the codec loses
    assert frames[0].mean() == pytest.approx(first_picture().mean(), abs=3.0)


def first_picture():
    venv = make_env("CartPole-v1", render_mode="rgb_array", seed=0)
    venv.reset()
    picture = venv.get_images()[0]
    venv.close()
    return picture


def test_an_existing_video_stays_when_filming_fails(run, tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")

    def fail(*arguments, **settings):
        raise RuntimeError("the simulator exploded")

    monkeypatch.setattr("tuning.watching.evaluate_model", fail)
    with pytest.raises(RuntimeError, match="exploded"):
        watch(run.path, record=path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("film.gif", "must end with .mp4"),
        ("film", "try .*film.mp4"),
        ("no/film", "try .*no/film.mp4"),
        ("file/film.mp4", "file cannot be made"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_a_name_that_cannot_become_a_video_is_refused_first(run, tmp_path, monkeypatch, record, message):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder.mp4").mkdir()
    monkeypatch.setattr("tuning.watching.evaluate_model", None)
    with pytest.raises(UsageError, match=message):
        watch(run.path, record=tmp_path / record)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.mp4"]


def test_the_videos_folder_is_made(run, tmp_path):
    watch(run.path, record=tmp_path / "of" / "today" / "film.mp4")
    assert len(frames_of(tmp_path / "of" / "today" / "film.mp4")) > 1


def test_without_ffmpeg_the_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtraError, match=r'pip install "actorzoo\[video\]"'):
        watch(run.path, record=tmp_path / "film.mp4")


def test_without_a_display_the_way_out_is_named(run, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="no display to open a window on; write a video instead: --record"):
        watch(run.path)


def test_a_window_is_opened_where_there_is_a_display(run, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    (episode,) = watch(run.path)
    assert episode.length > 0


def test_an_environment_that_cannot_be_shown_is_refused(tmp_path, make_module):
    make_module(
        "env_without_pictures",
        "import gymnasium as gym, numpy as np\n"
        "class Plain(gym.Env):\n"
        "    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)\n"
        "    action_space = gym.spaces.Discrete(2)\n"
        "    def __init__(self, render_mode=None):\n"
        "        pass\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return np.zeros(1, np.float32), {}\n"
        "    def step(self, action):\n"
        "        return np.zeros(1, np.float32), 0.0, True, False, {}\n"
        "gym.register('Plain-v0', Plain)\n",
    )
    run = train(
        "a2c", "Plain-v0", n_timesteps=10, import_modules=["env_without_pictures"], runs_dir=tmp_path, progress=False
    )
    with pytest.raises(UsageError, match="Plain-v0 cannot be shown as 'rgb_array'; it has the render modes none"):
        watch(run.path, record=tmp_path / "film.mp4")
