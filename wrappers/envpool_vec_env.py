"""EnvPool's environments as SB3's.

EnvPool steps many environments in C++ threads. It resets an environment in the step after its episode, but can also
reset single ones by number, which is done here at once, as SB3 shows it. It is used through the interface that its
documentation describes, so that this module does not need it to be installed.
"""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from wrappers.vector_data import Info, put_rows, split_infos, take_row

_BOOKKEEPING = {"env_id", "players", "elapsed_step"}  # in every info; of use to EnvPool's asynchronous mode only


def is_envpool(env: Any) -> bool:
    """Whether an object is an EnvPool: its classes are made at run time and share no importable base."""
    return all(hasattr(env, name) for name in ("send", "recv", "async_reset", "config", "all_env_ids"))


class EnvPoolVecEnv(VecEnv):
    """An SB3 VecEnv that steps an EnvPool.

    Args:
        env: made with `envpool.make(..., env_type="gymnasium", num_envs=n)`, in synchronous mode (no `batch_size`).

    Raises:
        ValueError: it was made in asynchronous mode, for several players, or for another interface.
    """

    def __init__(self, env: Any) -> None:
        config = env.config
        n_envs = int(config["num_envs"])
        if config.get("batch_size", n_envs) not in {0, n_envs}:
            raise ValueError(
                f"The EnvPool has num_envs={n_envs} and batch_size={config['batch_size']} (asynchronous mode), but SB3 "
                "steps all environments together; leave batch_size out."
            )
        if config.get("max_num_players", 1) != 1:
            raise ValueError(
                f"The EnvPool has {config['max_num_players']} players, but SB3's algorithms train one; "
                "make one with a single player."
            )
        if not isinstance(env.observation_space, gym.Space) or not isinstance(env.action_space, gym.Space):
            raise ValueError(
                f"The EnvPool has the observation space {env.observation_space!r}, which is not Gymnasium's; make it "
                "with env_type='gymnasium'."
            )
        self.env = env
        self._seed_of_make = config.get("seed")
        self._actions: np.ndarray | None = None
        super().__init__(n_envs, env.observation_space, env.action_space)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """EnvPool takes its seed when it is made; warns where another one is asked for."""
        if seed is not None and seed != self._seed_of_make:
            warnings.warn(
                f"EnvPool takes its seed when it is made: seed={seed} has no effect, the environments keep "
                f"{self._seed_of_make}. Pass seed= to envpool.make.",
                UserWarning,
                stacklevel=2,
            )
        return [None] * self.num_envs

    def reset(self) -> VecEnvObs:
        """Reset all environments."""
        if any(self._options):
            raise ValueError(
                f"EnvPool's reset takes no options, but got {self._options[0]}; pass them to envpool.make."
            )
        observations, infos = self.env.reset()
        self.reset_infos = self._split(infos)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take actions [n_envs, *shape]; the environments step in `step_wait`."""
        self._actions = np.asarray(actions, dtype=self.action_space.dtype)

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments, and reset those whose episode ended."""
        observations, rewards, terminated, truncated, batched = self.env.step(self._actions)
        infos = self._split(batched)
        dones = np.logical_or(terminated, truncated)
        rewards = np.asarray(rewards, dtype=np.float32)
        if not np.count_nonzero(dones):
            for info in infos:
                info["TimeLimit.truncated"] = False
            return observations, rewards, dones, infos
        for info, was_cut in zip(infos, np.logical_and(truncated, np.logical_not(terminated)).tolist(), strict=True):
            info["TimeLimit.truncated"] = was_cut
        finished = np.flatnonzero(dones)
        for i in finished.tolist():
            infos[i]["terminal_observation"] = take_row(observations, i)
        first, reset_infos = self.env.reset(finished.astype(np.int32))
        put_rows(observations, np.asarray(reset_infos["env_id"]), first, np.arange(len(finished)))
        for i, info in zip(reset_infos["env_id"], self._split(reset_infos, len(finished)), strict=True):
            self.reset_infos[i] = info
        return observations, rewards, dones, infos

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the pool; its environments have none that can be seen."""
        return [
            getattr(self.env, attr_name, None) if attr_name == "render_mode" else getattr(self.env, attr_name)
        ] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(
            f"EnvPool's environments live in C++: {attr_name!r} cannot be set; use envpool.make's options."
        )

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not possible.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"EnvPool's environments live in C++: they have no method {method_name!r} to call.")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """EnvPool's environments are never wrapped."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> list[np.ndarray | None]:
        """A picture of every environment."""
        return list(self.env.render(env_ids=np.arange(self.num_envs, dtype=np.int32)))

    def close(self) -> None:
        """Close the pool."""
        self.env.close()

    def _split(self, infos: dict[str, Any], n: int | None = None) -> list[Info]:
        own = {key: value for key, value in infos.items() if key not in _BOOKKEEPING}
        return split_infos(own, self.num_envs if n is None else n)
