"""SB3's VecNormalize with rules by key, exact statistics, and a third of its price.

An instance is an SB3 VecNormalize: algorithms find it (`get_vec_normalize_env`), off-policy algorithms store what it
did not normalize, `EvalCallback` synchronizes it. Where both do the same thing the numbers are SB3's: to the bit for
the same statistics, and to rounding for statistics learned from the same stream (SB3 averages float32 batches in
float32).

What differs:

* `rules`: bounds, images and categories beside running statistics, key by key (`wrappers.rules`);
* a number that is not finite is refused, with its key, instead of spoiling the statistics for ever;
* `save` writes named arrays, and `load` reads them without executing anything; SB3's pickles can be read, too;
* `merge` adds what another environment has seen; `freeze` keeps statistics as they are for a while.
"""

import copy
import inspect
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from wrappers.refusals import refuse_numbers
from wrappers.reward_scale import RewardScale
from wrappers.rules import Rules, RunningOptions, build, children
from wrappers.running_statistics import RunningStatistics
from wrappers.sb3_pickle import is_pickle, read_sb3_pickle
from wrappers.statistics_file import read_arrays, write_arrays
from wrappers.transforms import AnySpace, OneHot, Pass, Running, Transform
from wrappers.vec_normalize_layout import check_fits, check_same_space, group, pack, rules_of, settings_of

PRIOR_COUNT = 1e-4  # SB3's

_FLAT = ""  # the key of a flat observation


class VecNormalize(SB3VecNormalize):
    """Normalizes observations and rewards of SB3's vector environments.

    Args:
        venv: the environments.
        training: whether statistics learn.
        norm_obs: whether observations are normalized.
        norm_reward: whether rewards are scaled.
        clip_obs: largest absolute value that the rule `running` lets out.
        clip_reward: largest absolute scaled reward.
        gamma: discount per step of the return by whose deviation rewards are scaled.
        epsilon: added to variances.
        norm_obs_keys: keys of a Dict observation to which the rule `running` applies, the others pass (SB3's way of
            saying it); None for all. Not beside `rules`.
        rules: a rule, or rules by key, for observations (see `wrappers.rules`). None does what SB3 does: running
            statistics for every Box, the declared space left as it was except for images. With rules the space
            declared is the one that comes out. Images are best left to SB3's policies (`pass`, which `auto` chooses
            here), because they store bytes and divide by 255 themselves.
        reward_by: `return`, `reward` or `episode_maximum` (see `wrappers.reward_scale`).
        decay: factor by which running statistics weigh older numbers less with each new one.
        warmup: observations, or rewards, to be seen before running statistics change them; until then they are only
            clipped.

    Attributes:
        obs_rms: statistics of the observations; a dict by key for Dict observations. Absent without a running rule for
            a flat observation. May be replaced, by SB3's kind as well.
        ret_rms: statistics of returns, or of rewards, as `reward_by` has it. May be replaced.
        returns: [n_envs], what `reward_by` sums up within the episodes.

    Raises:
        ValueError: a rule or a key does not fit the observation space, or an option is outside its range.
    """

    def __init__(
        self,
        venv: VecEnv,
        training: bool = True,
        norm_obs: bool = True,
        norm_reward: bool = True,
        clip_obs: float = 10.0,
        clip_reward: float = 10.0,
        gamma: float = 0.99,
        epsilon: float = 1e-8,
        norm_obs_keys: list[str] | None = None,
        *,
        rules: Rules | None = None,
        reward_by: str = "return",
        decay: float = 1.0,
        warmup: int = 0,
    ) -> None:
        VecEnvWrapper.__init__(self, venv)  # SB3's own constructor knows no rules
        if rules is not None and not norm_obs:
            raise ValueError("Rules for observations were given, but norm_obs=False; leave out one of them.")
        self.training = training
        self.norm_obs, self.norm_reward = norm_obs, norm_reward
        self.clip_obs, self.clip_reward = clip_obs, clip_reward
        self.gamma, self.epsilon = gamma, epsilon
        self.norm_obs_keys = norm_obs_keys
        self.has_rules = rules is not None
        self._source_space: AnySpace = venv.observation_space
        self._is_dict = isinstance(venv.observation_space, spaces.Dict)
        options = RunningOptions(epsilon=epsilon, clip=clip_obs, prior_count=PRIOR_COUNT, decay=decay, warmup=warmup)
        self._use(self._build(rules, options) if norm_obs else {})
        self._reward = RewardScale(reward_by, gamma=gamma, prior_count=PRIOR_COUNT, decay=decay, warmup=warmup)
        self.ret_rms: RunningMeanStd = self._reward.statistics
        self.old_reward = np.array([])
        self._start_returns()

    # ---- stepping ----------------------------------------------------------------------------------------------------

    def reset(self) -> np.ndarray | dict[str, np.ndarray]:
        """Reset all environments; the first observations count for the statistics as any others."""
        observations = self._encoded(self.venv.reset())
        self.old_obs = observations
        self._start_returns()
        return self._normalized(observations, update=self.training) if self.norm_obs else observations

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step and normalize what it gave."""
        observations, rewards, dones, infos = self.venv.step_wait()
        training = self.training
        if self._encodes:
            observations = self._encoded(observations)
        self.old_obs = observations  # type: ignore[assignment]
        self.old_reward = rewards
        if self.norm_obs:
            observations = self._normalized(observations, update=training)
        rewards = self._scaled(rewards, update=training)
        if np.count_nonzero(dones):
            for i in np.flatnonzero(dones):
                if "terminal_observation" in infos[i]:
                    infos[i]["terminal_observation"] = self.normalize_obs(infos[i]["terminal_observation"])
            self.returns[dones] = 0.0
        return observations, rewards, dones, infos

    # ---- one batch ---------------------------------------------------------------------------------------------------

    def normalize_obs(self, obs: np.ndarray | dict[str, np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        """Normalize observations, of one environment or with any axes before them, without learning from them.

        Args:
            obs: as the environments give them, or as `get_original_obs` does.

        Raises:
            ValueError: a number is not finite, or a shape does not fit; the message names the key.
        """
        if not self.norm_obs:
            return {key: np.array(part) for key, part in obs.items()} if isinstance(obs, dict) else np.array(obs)
        self._prepare()
        if isinstance(obs, dict):
            return {key: self._normalize_any(key, part) for key, part in obs.items()}
        return self._normalize_any(_FLAT, obs)

    def unnormalize_obs(self, obs: np.ndarray | dict[str, np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        """Undo `normalize_obs` as far as clipping allows; categories stay encoded, as in `get_original_obs`."""
        if not self.norm_obs:
            return {key: np.array(part) for key, part in obs.items()} if isinstance(obs, dict) else np.array(obs)
        self._prepare()
        if isinstance(obs, dict):
            return {key: self._transforms[key].inverse(part) for key, part in obs.items()}
        return self._transforms[_FLAT].inverse(obs)

    def normalize_reward(self, reward: np.ndarray) -> np.ndarray:
        """Scale rewards of any shape without learning from them."""
        if self.norm_reward:
            reward = np.clip(reward / np.float64(self._divisor()), -self.clip_reward, self.clip_reward)
        return reward.astype(np.float32)

    def unnormalize_reward(self, reward: np.ndarray) -> np.ndarray:
        """Undo `normalize_reward` as far as clipping allows."""
        return reward * np.float64(self._divisor()) if self.norm_reward else reward

    # ---- statistics --------------------------------------------------------------------------------------------------

    def learning_statistics(self) -> dict[str, RunningStatistics]:
        """All statistics, by the names their arrays have in a file: `obs_rms`, or `obs_rms/<key>`, and `ret_rms`."""
        self._prepare()
        self._prepare_reward()
        statistics = {
            f"obs_rms/{key}" if self._is_dict else "obs_rms": t.statistics for key, t in self._running.items()
        }
        return statistics | {"ret_rms": self._reward.statistics}

    @property
    def largest_sum(self) -> float:
        """Largest absolute sum of rewards of an episode, for the measure `episode_maximum`."""
        return self._reward.largest

    @largest_sum.setter
    def largest_sum(self, largest: float) -> None:
        self._reward.largest = largest

    @contextmanager
    def freeze(self) -> Iterator[Self]:
        """Statistics stay as they are inside the `with` block; changing them directly raises there."""
        before = [(statistics, statistics.frozen) for statistics in self.learning_statistics().values()]
        was_training = self.training
        self.training = False
        for statistics, _ in before:
            statistics.frozen = True
        try:
            yield self
        finally:
            self.training = was_training
            for statistics, was_frozen in before:
                statistics.frozen = was_frozen

    def merge(self, other: SB3VecNormalize) -> None:
        """Take in what another wrapper, of either kind, has seen; the prior stands once.

        Args:
            other: not changed; its settings do not matter.

        Raises:
            ValueError: it normalizes other keys, or observations of another shape.
            RuntimeError: this wrapper does not learn at present.
        """
        if not self.training:
            raise RuntimeError(
                "This VecNormalize is frozen (training=False), and a merge would change its statistics; "
                "set training = True, or merge outside the freeze() block."
            )
        mine, theirs = self.learning_statistics(), learning_statistics_of(other)
        if set(mine) != set(theirs):
            raise ValueError(
                f"This VecNormalize has the statistics {sorted(mine)}, but the other one {sorted(theirs)}; "
                "merge only wrappers of the same environment with the same rules."
            )
        for name, statistics in theirs.items():
            if statistics.shape != mine[name].shape:  # found before anything has changed
                raise ValueError(
                    f"{name}: statistics of shape {statistics.shape} cannot be merged into statistics of shape "
                    f"{mine[name].shape}; merge only wrappers of the same environment."
                )
        for name, statistics in theirs.items():
            mine[name].merge(statistics)
        if isinstance(other, VecNormalize):
            self.largest_sum = max(self.largest_sum, other.largest_sum)

    # ---- files -------------------------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Statistics, settings and rules as named arrays of plain types (see `wrappers.vec_normalize_layout`)."""
        groups = {name: statistics.to_arrays() for name, statistics in self.learning_statistics().items()}
        groups["ret_rms"] = self._reward.to_arrays()
        if self.has_rules:
            for key, transform in self._transforms.items():
                name = f"obs_rms/{key}" if self._is_dict else "obs_rms"
                groups[name] = transform.to_arrays() | {"rule": np.array(transform.rule)}
        return pack(self, groups, list(self._transforms) if self._is_dict and self.has_rules else None)

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over statistics, clipping, gamma and epsilon; `training` and `norm_reward` stay as they are.

        Args:
            arrays: what `to_arrays` or `statistics_to_arrays` gave.

        Raises:
            ValueError: they belong to other observations or other rules; the message names the key. Nothing has
                changed then.
        """
        check_fits(self._source_space, arrays)
        loaded = {key: copy.copy(transform) for key, transform in self._transforms.items()}
        for key, transform in loaded.items():
            name = f"obs_rms/{key}" if self._is_dict else "obs_rms"
            own = group(arrays, name)
            if self.has_rules or isinstance(transform, Running):
                rule = str(own.get("rule", "running"))
                if rule != transform.rule or not own:
                    raise ValueError(
                        f"{transform.name}: saved with the rule {rule!r}, but this wrapper has {transform.rule!r}; "
                        "use the rules the statistics were made with, or normalize anew."
                    )
                transform.load_arrays(own)
        settings = settings_of(arrays)
        self._reward.load_arrays(group(arrays, "ret_rms"))
        self.clip_obs, self.clip_reward = settings["clip_obs"], settings["clip_reward"]
        self.gamma, self.epsilon = settings["gamma"], settings["epsilon"]
        self._use(loaded)
        self.ret_rms = self._reward.statistics

    @classmethod
    def from_arrays(
        cls,
        venv: VecEnv,
        arrays: Mapping[str, np.ndarray],
        *,
        training: bool = True,
        norm_reward: bool | None = None,
    ) -> Self:
        """A wrapper that goes on from saved statistics, with the saved settings.

        Args:
            venv: the environments, without normalization.
            arrays: what `to_arrays` or `statistics_to_arrays` gave.
            training: whether the statistics go on learning.
            norm_reward: whether rewards are scaled; None takes what was saved.

        Raises:
            ValueError: an array is missing, the layout is of another version, or the statistics do not fit the
                observation space of `venv`; the message names the key.
        """
        check_fits(venv.observation_space, arrays)
        settings = settings_of(arrays)
        if norm_reward is not None:
            settings["norm_reward"] = norm_reward
        wrapper = cls(venv, training=training, rules=rules_of(arrays), **settings)
        wrapper.load_arrays(arrays)
        return wrapper

    def save(self, save_path: str | os.PathLike[str]) -> None:
        """Write statistics and settings to a file of named arrays, under exactly the name given."""
        write_arrays(save_path, self.to_arrays() | {"training": np.array(self.training)})

    @staticmethod
    def load(load_path: str | os.PathLike[str], venv: VecEnv) -> "VecNormalize":
        """A wrapper with saved statistics and settings, `training` and `norm_reward` among them.

        Args:
            load_path: a file that `save` wrote, or a pickle that SB3's `VecNormalize.save` wrote. Of a pickle only
                numbers are read: nothing in it is executed.
            venv: the environments.

        Raises:
            ValueError: the file is neither, or its statistics do not fit the environments; the message names the key.
        """
        arrays = read_sb3_pickle(load_path) if is_pickle(load_path) else read_arrays(load_path)
        return VecNormalize.from_arrays(venv, arrays, training=bool(arrays.get("training", True)))

    def set_venv(self, venv: VecEnv) -> None:
        """Put environments below a wrapper that was pickled, which is done without them.

        Raises:
            ValueError: there are environments below it already, or their observations are others.
        """
        if self.venv is not None:
            raise ValueError("This VecNormalize has environments already; make a new one, or use merge.")
        check_same_space(self._source_space, venv.observation_space)
        self.venv = venv
        self.num_envs = venv.num_envs
        self.render_mode = venv.render_mode
        self.class_attributes = dict(inspect.getmembers(type(self)))
        self._start_returns()

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _use(self, transforms: dict[str, Transform]) -> None:
        self._transforms = transforms
        self._flat = transforms.get(_FLAT) if not self._is_dict else None
        self._running = {key: t for key, t in transforms.items() if isinstance(t, Running)}
        self._encodes = any(isinstance(t, OneHot) for t in transforms.values())
        if self._is_dict and self.norm_obs:
            self.obs_rms = {key: transform.statistics for key, transform in self._running.items()}
        elif self._running:
            self.obs_rms = self._running[_FLAT].statistics  # type: ignore[assignment]  # SB3 annotates the dict only

    def _build(self, rules: Rules | None, options: RunningOptions) -> dict[str, Transform]:
        """A transform for each key, and the observation space declared."""
        space = self._source_space
        if rules is None:
            self._sanity_checks()  # SB3's, with its messages; fills in norm_obs_keys
            return self._build_as_sb3(space, options)
        if self.norm_obs_keys is not None:
            raise ValueError(
                "Both norm_obs_keys and rules were given; put the keys into rules, with the rule 'running'."
            )
        if not self._is_dict:
            transform = build(space, _spare_images(space, rules), "observation", options)  # type: ignore[arg-type]
            self.observation_space = transform.space
            return {_FLAT: transform}
        transforms = {
            key: build(part, _spare_images(part, rule), f"observation {key!r}", options)  # type: ignore[arg-type]
            for key, (part, rule) in children(space, rules, "observation").items()  # type: ignore[arg-type]
        }
        self.observation_space = spaces.Dict({key: transform.space for key, transform in transforms.items()})
        self.norm_obs_keys = [key for key, transform in transforms.items() if not isinstance(transform, Pass)]
        return transforms

    def _build_as_sb3(self, space: AnySpace, options: RunningOptions) -> dict[str, Transform]:
        if not isinstance(space, spaces.Dict):
            running = build(space, "running", "observation", options)
            if is_image_space(space):
                self.observation_space = spaces.Box(-self.clip_obs, self.clip_obs, space.shape, np.float32)
            return {_FLAT: running}
        transforms: dict[str, Transform] = {}
        declared: dict[str, AnySpace] = dict(space.spaces)
        for key, part in space.spaces.items():
            is_normalized = key in (self.norm_obs_keys or [])
            transforms[key] = build(part, "running" if is_normalized else "pass", f"observation {key!r}", options)
            if is_normalized and is_image_space(part):
                declared[key] = spaces.Box(-self.clip_obs, self.clip_obs, part.shape, np.float32)
        self.observation_space = spaces.Dict(declared)
        return transforms

    def _normalized(self, observations: VecEnvObs, *, update: bool) -> Any:
        """A batch from all environments, normalized."""
        flat = self._flat
        if flat is not None:
            if not (
                isinstance(flat, Running)
                and flat.statistics is self.__dict__["obs_rms"]  # SB3 annotates the dict only
                and flat.clip == self.clip_obs
                and flat.epsilon == self.epsilon
            ):
                self._prepare()
            return flat(observations, update=update)  # type: ignore[arg-type]
        self._prepare()
        return {key: transform(observations[key], update=update) for key, transform in self._transforms.items()}  # type: ignore[call-overload]

    def _normalize_any(self, key: str, array: np.ndarray) -> np.ndarray:
        """Normalize an array with any number of axes before the observation's own."""
        transform = self._transforms[key]
        array = np.asarray(array)
        shape = transform.sample_shape(array)
        leading = array.shape[: array.ndim - len(shape)]
        if len(leading) == 1:
            return transform(array, update=False)
        result = transform(array.reshape(-1, *shape), update=False)
        return result.reshape(leading + result.shape[1:])

    def _encoded(self, observations: VecEnvObs) -> Any:
        """Observations with categories as unit vectors: buffers are made for the space declared."""
        if not (self._encodes and self.norm_obs):
            return observations
        if self._flat is not None:
            return self._flat(observations, update=False)  # type: ignore[arg-type]
        return {
            key: self._transforms[key](part, update=False) if isinstance(self._transforms[key], OneHot) else part
            for key, part in observations.items()  # type: ignore[union-attr]
        }

    def _scaled(self, rewards: np.ndarray, *, update: bool) -> NDArray[np.float32]:
        scaled, reward = self._rewards, self._reward
        scaled[...] = rewards
        if self.ret_rms is not reward.statistics or self.gamma != reward.gamma:
            self._prepare_reward()
        squares = scaled.dot(scaled).item()
        if not math.isfinite(squares):  # one number tells for all, before the returns know of it
            refuse_numbers("reward", rewards)
        if update:
            reward.update(self.returns, scaled)
        if not self.norm_reward:
            return scaled.astype(np.float32)
        divisor, clip = reward.divisor(self.epsilon), self.clip_reward
        if self.num_envs == 1:  # Python's floats beat arrays of one number
            scaled[0] = min(max(scaled.item() / divisor, -clip), clip)
            return scaled.astype(np.float32)
        self._operand[()] = divisor
        scaled /= self._operand
        if squares > (clip * divisor) ** 2:  # otherwise not even the largest exceeds the clip
            np.clip(scaled, -clip, clip, out=scaled)
        return scaled.astype(np.float32)

    def _divisor(self) -> float:
        self._prepare_reward()
        return self._reward.divisor(self.epsilon)

    def _start_returns(self) -> None:
        self.returns = np.zeros(self.num_envs)
        self._rewards = np.zeros(self.num_envs)
        self._operand = np.array(1.0)  # without dimensions: NumPy converts a Python float anew in every operation

    def _prepare(self) -> None:
        """Follow changes of `clip_obs` and `epsilon`, and statistics put in from outside."""
        for key, transform in self._running.items():
            if transform.clip != self.clip_obs or transform.epsilon != self.epsilon:
                transform.configure(self.epsilon, self.clip_obs)
            outside: RunningMeanStd = self.obs_rms[key] if self._is_dict else self.obs_rms  # type: ignore[assignment]
            if outside is not transform.statistics:
                own = as_running_statistics(outside, transform.statistics)
                transform.statistics = own
                if self._is_dict:
                    self.obs_rms[key] = own
                else:
                    self.obs_rms = own  # type: ignore[assignment]

    def _prepare_reward(self) -> None:
        self._reward.gamma = self.gamma
        if self.ret_rms is not self._reward.statistics:
            self.ret_rms = self._reward.statistics = as_running_statistics(self.ret_rms, self._reward.statistics)


def as_running_statistics(statistics: RunningMeanStd, like: RunningStatistics) -> RunningStatistics:
    """The statistics themselves, or SB3's as ours.

    Args:
        statistics: of either kind.
        like: gives shape, name and options.

    Raises:
        ValueError: the shape is another one.
    """
    shape = np.shape(statistics.mean)
    if shape != like.shape:
        raise ValueError(
            f"{like.name}: statistics of shape {shape} were put into this VecNormalize, but {like.shape} is needed; "
            "take them from a wrapper of the same environment."
        )
    if isinstance(statistics, RunningStatistics):
        return statistics
    own = RunningStatistics(shape, decay=like.decay, warmup=like.warmup, name=like.name)
    own.set_moments(statistics.mean, statistics.var, float(statistics.count))
    return own


def learning_statistics_of(vec_normalize: SB3VecNormalize) -> dict[str, RunningStatistics]:
    """All statistics of a VecNormalize of either kind, by name; those of SB3's own kind as copies."""
    if isinstance(vec_normalize, VecNormalize):
        return vec_normalize.learning_statistics()
    found: dict[str, RunningMeanStd] = {}
    if vec_normalize.norm_obs:
        obs_rms: Any = vec_normalize.obs_rms  # SB3 annotates a dict, but a flat observation has a single one
        if isinstance(obs_rms, dict):
            found = {f"obs_rms/{key}": statistics for key, statistics in obs_rms.items()}
        else:
            found = {"obs_rms": obs_rms}
    found["ret_rms"] = vec_normalize.ret_rms
    return {
        name: as_running_statistics(statistics, RunningStatistics(np.shape(statistics.mean), name=name))
        for name, statistics in found.items()
    }


def _spare_images(space: AnySpace, rule: Rules) -> Rules:
    """`auto` leaves images to SB3's policies."""
    return "pass" if rule == "auto" and is_image_space(space) else rule
