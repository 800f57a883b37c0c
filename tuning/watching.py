"""Look at a trained agent: in a window, or as a video on a machine without a display."""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from agents.errors import MissingExtraError
from tuning import environments
from tuning.config import RunConfig, resolve
from tuning.errors import UsageError
from tuning.evaluation import EpisodeResult, evaluate_model, load_model
from tuning.files import make_room, whole_file
from tuning.runs import open_run
from tuning.seeds import evaluation_seed

_WATCHED = 2  # a stream of seeds, see tuning.seeds
_FRAMES_PER_SECOND = 30  # where the environment does not say
_ENDINGS = (".mp4", ".mkv")


def watch(
    run: str | os.PathLike[str],
    *,
    episodes: int = 1,
    record: str | os.PathLike[str] | None = None,
    sampled: bool = False,
    model: str = "final",
    seed: int | None = None,
) -> list[EpisodeResult]:
    """Play episodes with a run's saved model and show them.

    Args:
        run: the run's folder, which is left as it is.
        episodes: how many, one after the other.
        record: a video file to write instead of opening a window; needs no display. Its folder is made where needed.
        sampled: sample actions instead of taking the most likely ones.
        model: "final", "best" or "last".
        seed: of the environment; derived from the run's by default.

    Returns:
        The episodes' returns and lengths.

    Raises:
        UsageError: no such run or model, no display, a file ending that is no video's, or an environment that cannot be
            shown so.
        agents.errors.MissingExtraError: recording needs ffmpeg.
    """
    folder = open_run(run)
    config = resolve(config=folder.config_path)
    loaded = load_model(folder, config, model)
    with ExitStack() as stack:
        venv = stack.enter_context(_window(config) if record is None else _video(config, Path(record)))
        first = evaluation_seed(config.seed, loaded.num_timesteps, _WATCHED) if seed is None else seed
        return evaluate_model(loaded, venv, episodes, first, not sampled)


@contextmanager
def _window(config: RunConfig) -> Iterator[VecEnv]:
    _check_display()
    _check_render_mode(config, "human")
    venv = environments.evaluation_env(config, render_mode="human")
    try:
        yield venv
    finally:
        venv.close()


@contextmanager
def _video(config: RunConfig, path: Path) -> Iterator[VecEnv]:
    """An environment whose frames become the file, which appears when the block ends without an exception."""
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(
            f"--record {path}: the name must end with {', '.join(_ENDINGS)}; try {path.with_suffix('.mp4')}"
        )
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("video", wanted=f"The video {path}", package="imageio-ffmpeg") from error
    _check_render_mode(config, "rgb_array")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame then draws without a display
    with whole_file(make_room(path)) as temporary:
        film = _Film(temporary)
        venv = environments.evaluation_env(config, render_mode="rgb_array", innermost=film.of)
        try:
            yield venv
        finally:
            venv.close()
            film.close()


def _check_display() -> None:
    has_one = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))
    if sys.platform.startswith("linux") and not has_one:
        raise UsageError("There is no display to open a window on; write a video instead: --record FILE.mp4")


def _check_render_mode(config: RunConfig, mode: str) -> None:
    """Raise before a window or a file is opened for an environment that cannot be shown so."""
    environments.check_known(config.env, config.import_modules)
    venv = environments.evaluation_env(config)
    modes = venv.get_attr("metadata")[0].get("render_modes", [])
    venv.close()
    if mode not in modes:
        raise UsageError(f"{config.env} cannot be shown as {mode!r}; it has the render modes {modes or 'none'}")


class _Film:
    """Writes frames into a video file while they come, so that long episodes need no memory.

    Args:
        path: the file; its ending chooses the format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Generator[None, np.ndarray, None] | None = None

    def of(self, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """The environment, filmed."""
        return _Filmed(env, self)

    def add(self, frame: np.ndarray, frames_per_second: float) -> None:
        """Append one picture, (height, width, 3) uint8."""
        import imageio_ffmpeg

        if self._writer is None:
            height, width = frame.shape[:2]
            self._writer = imageio_ffmpeg.write_frames(
                str(self._path), (width, height), fps=frames_per_second, macro_block_size=2
            )
            self._writer.send(None)  # type: ignore[arg-type]
        self._writer.send(np.ascontiguousarray(frame))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


class _Filmed(gym.Wrapper[Any, Any, Any, Any]):
    """Films every state. That of a reset is added with the first step, for the reset after the last episode is none."""

    def __init__(self, env: gym.Env[Any, Any], film: _Film) -> None:
        super().__init__(env)
        self._film = film
        self._speed = env.metadata.get("render_fps") or _FRAMES_PER_SECOND
        self._first: np.ndarray | None = None

    def reset(self, **options: Any) -> Any:
        """Reset, and keep the picture."""
        answer = self.env.reset(**options)
        self._first = self._picture()
        return answer

    def step(self, action: Any) -> Any:
        """Step, and add the picture."""
        answer = self.env.step(action)
        if self._first is not None:
            self._film.add(self._first, self._speed)
            self._first = None
        self._film.add(self._picture(), self._speed)
        return answer

    def _picture(self) -> np.ndarray:
        picture = self.env.render()
        assert isinstance(picture, np.ndarray)
        return picture
