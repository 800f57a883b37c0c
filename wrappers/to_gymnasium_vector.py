"""SB3's vector environments as Gymnasium's.

SB3 resets an environment in the step that ends its episode, which is Gymnasium's SAME_STEP mode. The other two modes
are made of it by keeping back the observation of the reset:

* DISABLED: it is given out when the caller asks for the reset.
* NEXT_STEP: it is given out in the next step, in which the environment must stand still while the others go on. Only
  SB3's DummyVecEnv and SubprocVecEnv can be stepped one by one, so this mode needs one of them without wrappers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from wrappers.vector_data import Info, copy_all, put_row, take_row

Step = tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


def to_gymnasium_vector(venv: VecEnv, autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP) -> "SB3VectorEnv":
    """A Gymnasium VectorEnv that steps an SB3 VecEnv.

    Args:
        venv: the environments.
        autoreset_mode: of the result; a member of Gymnasium's AutoresetMode, or its value ("SameStep").

    Raises:
        TypeError: `venv` is no VecEnv.
        ValueError: there is no such mode, or `venv` cannot offer it.
    """
    if not isinstance(venv, VecEnv):
        raise TypeError(
            f"to_gymnasium_vector got a {type(venv).__name__}, but it takes an SB3 VecEnv; "
            "make one with stable_baselines3.common.env_util.make_vec_env."
        )
    return SB3VectorEnv(venv, AutoresetMode(autoreset_mode))


class SB3VectorEnv(VectorEnv[Any, Any, Any]):
    """See `to_gymnasium_vector`.

    Args:
        venv: the environments.
        mode: when an environment is reset after an episode.
    """

    def __init__(self, venv: VecEnv, mode: AutoresetMode) -> None:
        self._one_by_one = isinstance(venv, DummyVecEnv | SubprocVecEnv)
        if mode == AutoresetMode.NEXT_STEP and not self._one_by_one:
            raise ValueError(
                f"NEXT_STEP autoreset keeps single environments standing still for a step, but a {type(venv).__name__} "
                "steps all of them together; use SAME_STEP or DISABLED, or put the wrappers around the result."
            )
        self.venv = venv
        self.num_envs = venv.num_envs
        self.single_observation_space = venv.observation_space
        self.single_action_space = venv.action_space
        self.observation_space = batch_space(venv.observation_space, venv.num_envs)
        self.action_space = batch_space(venv.action_space, venv.num_envs)
        self.render_mode = venv.render_mode
        self.metadata = {**venv.metadata, "autoreset_mode": mode}
        self._mode = mode
        self._observations: Any = None
        # what the reset after an episode gave, by environment, until it is asked for
        self._kept: dict[int, tuple[Any, Info]] = {}

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of `options["reset_mask"]`.

        Args:
            seed: an int, counted up from environment to environment, or one for each (None for none).
            options: passed to every environment, but for `reset_mask`, a bool array [num_envs].

        Raises:
            ValueError: seeds of another number than environments, a mask of another shape, or a partial reset of
                an environment that can only be stepped with the others.
        """
        seeds = self._seeds(seed)
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if mask is not None:
            return self._reset_some(np.asarray(mask), seeds, options)
        self._kept.clear()
        self._seed(seeds)
        self.venv.set_options(options)
        self._observations = copy_all(self.venv.reset())
        infos: dict[str, Any] = {}
        for i, info in enumerate(self.venv.reset_infos):
            infos = self._add_info(infos, info, i)
        return copy_all(self._observations), infos

    def step(self, actions: Any) -> Step:
        """Step all environments, but for those that are reset in this step (NEXT_STEP).

        Raises:
            ValueError: an environment must be reset first (DISABLED).
        """
        if self._mode == AutoresetMode.DISABLED and self._kept:
            raise ValueError(
                f"The episodes of the environments {sorted(self._kept)} are over, and in DISABLED mode nothing resets "
                "them; call reset(options={'reset_mask': terminated | truncated}) before the next step."
            )
        if self._kept:
            return self._step_one_by_one(np.asarray(actions))
        observations, rewards, dones, infos = self.venv.step(np.asarray(actions))
        self._observations = copy_all(observations)
        batched: dict[str, Any] = {}
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        for i, info in enumerate(infos):
            info = dict(info)
            truncated[i] = bool(info.pop("TimeLimit.truncated", False)) and bool(dones[i])
            if dones[i]:
                batched = self._end_episode(batched, i, info, self.venv.reset_infos[i])
            else:
                batched = self._add_info(batched, info, i)
        terminated = np.logical_and(dones, ~truncated)
        return copy_all(self._observations), np.array(rewards, dtype=np.float64), terminated, truncated, batched

    def _end_episode(self, batched: dict[str, Any], i: int, info: Info, reset_info: Info) -> dict[str, Any]:
        """Put the last observation and the info where the mode has them; what the reset gave is shown or kept."""
        final = info.pop("terminal_observation")
        if self._mode == AutoresetMode.SAME_STEP:
            batched = self._add_info(batched, {"final_obs": final, "final_info": info}, i)
            return self._add_info(batched, reset_info, i)
        first = take_row(self._observations, i)
        self._kept[i] = (first, reset_info)
        put_row(self._observations, i, final)
        return self._add_info(batched, info, i)

    def _step_one_by_one(self, actions: np.ndarray) -> Step:
        """A step in which some environments only show what their reset gave."""
        kept, self._kept = self._kept, {}
        rewards = np.zeros(self.num_envs)
        batched: dict[str, Any] = {}
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        for i in range(self.num_envs):
            if i in kept:
                observation, info = kept[i]
            else:
                result = self.venv.env_method("step", actions[i], indices=i)[0]
                observation, rewards[i], terminated[i], truncated[i], info = result
                if terminated[i] or truncated[i]:
                    self._kept[i] = self.venv.env_method("reset", indices=i)[0]
            put_row(self._observations, i, observation)
            batched = self._add_info(batched, info, i)
        return copy_all(self._observations), rewards, terminated, truncated, batched

    def _reset_some(
        self, mask: NDArray[np.bool_], seeds: list[int | None], options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"reset_mask has the shape {mask.shape} and the type {mask.dtype}, with {int(np.sum(mask))} chosen, "
                f"but a bool array of shape ({self.num_envs},) with at least one True is needed; "
                "give terminated | truncated."
            )
        infos: dict[str, Any] = {}
        for i in np.flatnonzero(mask).tolist():
            if i in self._kept and seeds[i] is None and not options:
                observation, info = self._kept[i]  # that reset has taken place already
            elif self._one_by_one:
                observation, info = self.venv.env_method("reset", seed=seeds[i], options=options or None, indices=i)[0]
            else:
                raise ValueError(
                    f"Environment {i} was to be reset alone (in the middle of an episode, with a seed, or with "
                    f"options), but a {type(self.venv).__name__} resets all of them together; reset those whose "
                    "episode is over, without seed and options, or use a DummyVecEnv without wrappers."
                )
            self._kept.pop(i, None)
            put_row(self._observations, i, observation)
            infos = self._add_info(infos, info, i)
        return copy_all(self._observations), infos

    # ---- single environments -----------------------------------------------------------------------------------------

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment."""
        return tuple(self.venv.env_method(name, *args, **kwargs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every environment."""
        return tuple(self.venv.get_attr(name))

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute: one value for all, or a list or tuple with one for each.

        Raises:
            ValueError: values of another number than environments.
        """
        if not isinstance(values, list | tuple):
            values = [values] * self.num_envs
        if len(values) != self.num_envs:
            raise ValueError(f"{len(values)} values of {name!r} for {self.num_envs} environments; give one for each.")
        for i, value in enumerate(values):
            self.venv.set_attr(name, value, indices=i)

    def render(self) -> tuple[Any, ...]:
        """A picture of every environment."""
        return tuple(self.venv.get_images())

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        self.venv.close()

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None or isinstance(seed, int | np.integer):
            return [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} environments; give one for each, or an int.")
        return list(seed)

    def _seed(self, seeds: list[int | None]) -> None:
        """SB3 counts up from one seed; other lists are put where it keeps them until the reset."""
        if all(seed is None for seed in seeds):
            return
        self.venv.seed(0 if seeds[0] is None else seeds[0])
        self.venv.unwrapped._seeds = list(seeds)
