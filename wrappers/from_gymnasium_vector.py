"""Gymnasium's vector environments, and EnvPool's, as SB3's.

What differs between the two, and how it is settled here:

| | Gymnasium | SB3 |
|---|---|---|
| after an episode | resets in the next step, in the same step, or not at all | the same step |
| last observation | the observation itself, or `final_obs` in the infos | `terminal_observation` in the infos |
| endings | terminated, truncated | done, and `TimeLimit.truncated` where truncated and not terminated |
| infos | one dict of arrays | a list of dicts |
| reset's infos | returned | `reset_infos` |

In NEXT_STEP mode Gymnasium throws an action away in the step after an episode; its reward of 0 and its pair of
observations belong to no episode. Such a step never takes place here (`wrappers.partial_reset`), so it cannot get into
a buffer.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from wrappers.envpool_vec_env import EnvPoolVecEnv, is_envpool
from wrappers.partial_reset import find_partial_reset, has_wrapper
from wrappers.vector_data import Info, copy_all, put_rows, split_infos, take_row


def from_gymnasium_vector(env: VectorEnv) -> VecEnv:
    """An SB3 VecEnv that steps a Gymnasium vector environment, or an EnvPool made with `env_type="gymnasium"`.

    Seeds are passed on at the next reset, as SB3 does. Wrappers are best put around the result: SB3's VecMonitor for
    records of episodes (Gymnasium's RecordEpisodeStatistics works in SAME_STEP mode only), VecNormalize, and so on.

    Args:
        env: in any of the three autoreset modes.

    Raises:
        TypeError: it is no vector environment.
        ValueError: its autoreset mode is not declared, or it cannot be used in SB3's way.
    """
    if is_envpool(env):
        return EnvPoolVecEnv(env)
    if not isinstance(env, VectorEnv):
        raise TypeError(
            f"from_gymnasium_vector got a {type(env).__name__}, but it takes a gymnasium.vector.VectorEnv or an "
            "EnvPool; make one with gymnasium.make_vec, or give single environments to SB3's make_vec_env."
        )
    return GymnasiumVecEnv(env)


class GymnasiumVecEnv(VecEnv):
    """See `from_gymnasium_vector`.

    Args:
        env: in any of the three autoreset modes.
    """

    def __init__(self, env: VectorEnv) -> None:
        mode = (env.metadata or {}).get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(
                f"{env} declares the autoreset mode {mode!r}, but one of gymnasium.vector.AutoresetMode is needed to "
                "know when it resets; set env.metadata['autoreset_mode']."
            )
        self.env = env
        self._mode = mode
        self._reset_some = None if mode == AutoresetMode.SAME_STEP else find_partial_reset(env, mode)
        # Without copies the environment writes its next observations into the same memory.
        self._must_copy = getattr(env.unwrapped, "copy", True) is False
        self._has_records = has_wrapper(env, RecordEpisodeStatistics)
        self._actions: np.ndarray | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Reset all environments, with the seeds and options set before."""
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError(
                f"The options {self._options} differ between environments, but Gymnasium's vector environments take "
                "one dict for all; give set_options a dict."
            )
        # Gymnasium counts seeds up from environment to environment, as SB3 does.
        observations, infos = self.env.reset(seed=self._seeds[0], options=dict(options) or None)
        self.reset_infos = split_infos(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return copy_all(observations) if self._must_copy else observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take actions [n_envs, *shape]; the environments step in `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments, and reset those whose episode ended."""
        observations, rewards, terminated, truncated, batched = self.env.step(self._actions)
        if self._must_copy:
            observations = copy_all(observations)
        dones = np.logical_or(terminated, truncated)
        if not np.count_nonzero(dones):
            infos = split_infos(batched, self.num_envs)
            for info in infos:
                info["TimeLimit.truncated"] = False
            return observations, np.asarray(rewards, dtype=np.float32), dones, infos
        finished = np.flatnonzero(dones)
        if self._reset_some is None:
            infos, finals = self._finals_in_infos(batched, finished)
        else:
            infos, finals = (
                split_infos(batched, self.num_envs),
                {i: take_row(observations, i) for i in finished.tolist()},
            )
            first, rows, reset_infos = self._reset_some(finished)
            put_rows(observations, finished, first, rows)
            split = split_infos(reset_infos, self.num_envs)
            for i in finished.tolist():
                self.reset_infos[i] = split[i]
        for info, was_cut in zip(infos, np.logical_and(truncated, np.logical_not(terminated)).tolist(), strict=True):
            info["TimeLimit.truncated"] = was_cut
        for i, final in finals.items():
            infos[i]["terminal_observation"] = final
        return observations, np.asarray(rewards, dtype=np.float32), dones, infos

    def _finals_in_infos(self, batched: dict[str, Any], finished: np.ndarray) -> tuple[list[Info], dict[int, Any]]:
        """In SAME_STEP mode: infos of the step, also where an episode ended, and the last observations."""
        if "final_obs" not in batched:
            raise ValueError(
                f"{self.env} ended the episodes of the environments {finished.tolist()} in SAME_STEP mode without "
                "final_obs in its infos, but a truncated episode cannot be bootstrapped without its last observation; "
                "correct the environment."
            )
        rest = {key: value for key, value in batched.items() if key.lstrip("_") not in {"final_obs", "final_info"}}
        infos = split_infos(rest, self.num_envs)
        final_infos = split_infos(batched.get("final_info", {}), self.num_envs)
        final_obs = batched["final_obs"]
        is_batched = isinstance(final_obs, dict | tuple)
        finals = {i: take_row(final_obs, i) if is_batched else copy_all(final_obs[i]) for i in finished.tolist()}
        for i in finished.tolist():
            self.reset_infos[i], infos[i] = infos[i], final_infos[i]
            if self._has_records and "episode" in self.reset_infos[i]:  # told beside the info of the reset
                infos[i]["episode"] = self.reset_infos[i].pop("episode")
        return infos, finals

    # ---- single environments -----------------------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of single environments; of the vector environment where it has no single ones."""
        chosen = list(self._get_indices(indices))
        if isinstance(self.env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
            values = self.env.unwrapped.get_attr(attr_name)
            return [values[i] for i in chosen]
        return [getattr(self.env, attr_name)] * len(chosen)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of single environments; of the vector environment where it has no single ones.

        Raises:
            ValueError: some environments were asked for, but all are in one piece or in other processes.
        """
        chosen = list(self._get_indices(indices))
        inner = self.env.unwrapped
        if isinstance(inner, SyncVectorEnv):
            for i in chosen:
                inner.envs[i].set_wrapper_attr(attr_name, value)
            return
        self._refuse_some(chosen, f"set {attr_name!r}")
        if isinstance(inner, AsyncVectorEnv):
            inner.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(inner, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of single environments.

        Raises:
            ValueError: some environments were asked for, but they are in other processes.
            AttributeError: there are no single environments.
        """
        chosen = list(self._get_indices(indices))
        inner = self.env.unwrapped
        if isinstance(inner, SyncVectorEnv):
            return [inner.envs[i].get_wrapper_attr(method_name)(*method_args, **method_kwargs) for i in chosen]
        if isinstance(inner, AsyncVectorEnv):
            self._refuse_some(chosen, f"call {method_name!r}")
            return list(inner.call(method_name, *method_args, **method_kwargs))
        raise AttributeError(
            f"{inner} has no single environments whose method {method_name!r} could be called; "
            "use SyncVectorEnv, or call the vector environment itself (.env)."
        )

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Whether single environments are wrapped; False where that cannot be seen from here."""
        inner = self.env.unwrapped
        chosen = list(self._get_indices(indices))
        if isinstance(inner, SyncVectorEnv):
            return [is_wrapped(inner.envs[i], wrapper_class) for i in chosen]
        return [False] * len(chosen)

    def get_images(self) -> list[np.ndarray | None]:
        """A picture of every environment."""
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def _refuse_some(self, chosen: list[int], what: str) -> None:
        if sorted(chosen) != list(range(self.num_envs)):
            raise ValueError(
                f"Asked to {what} for the environments {chosen}, but {self.env.unwrapped} can do that only for all "
                "of them; leave out indices, or use SyncVectorEnv."
            )
