"""The shared optimizer: how a pushed gradient changes the one parameter vector.

:class:`UpdateRule` names the rule and its constants, :class:`FlatOptimizer` is the same thing as a
``torch.optim.Optimizer``, so that SB3's saving, loading and inspecting find what they expect at ``policy.optimizer``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from agents.asynchronous.memory import Layout
from agents.common.arguments import check_number
from agents.common.flat import FlatParameters
from agents.common.optimizers import adam_update, momentum_update, rmsprop_update

SHARED_OPTIMIZERS = ("rmsprop", "rmsprop-local", "momentum", "adam")

# Numbers that one pass of a rule handles: four such float32 vectors fit into a core's second-level cache.
_BLOCK = 1 << 14

Update = Callable[[NDArray[Any], float], None]


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """One of the rules compared in Mnih et al. (2016), section 4, or Adam.

    Attributes:
        name: "rmsprop" (statistics shared by all workers), "rmsprop-local" and "momentum" (each worker its own), "adam"
            (shared).
        alpha: decay of RMSProp's squared average, and of momentum's velocity, as in the paper.
        eps: RMSProp's, inside the root.
        beta1: Adam's decay of the average.
        beta2: Adam's decay of the squared average.
        adam_eps: Adam's, outside the root.

    Raises:
        ValueError: an unknown name or a constant out of range.
    """

    name: str = "rmsprop"
    alpha: float = 0.99
    eps: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    adam_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.name not in SHARED_OPTIMIZERS:
            raise ValueError(
                f"shared_optimizer={self.name!r}, but it must be one of {', '.join(map(repr, SHARED_OPTIMIZERS))}."
            )
        check_number("rms_prop_alpha", self.alpha, 0.0, 1.0, below=True, remedy="the default is 0.99")
        check_number("rms_prop_eps", self.eps, 0.0, above=True, remedy="the default is 0.1")
        for name in ("beta1", "beta2"):
            check_number(name, getattr(self, name), 0.0, 1.0, below=True)

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the vectors the rule keeps, torch's where torch has the same."""
        return {
            "rmsprop": ("square_avg",),
            "rmsprop-local": ("square_avg",),
            "momentum": ("momentum_buffer",),
            "adam": ("exp_avg", "exp_avg_sq"),
        }[self.name]

    @property
    def constants(self) -> dict[str, Any]:
        """The constants that the rule uses, under torch's names where torch has the same."""
        if self.name == "adam":
            return {"betas": (self.beta1, self.beta2), "eps": self.adam_eps}
        return {"alpha": self.alpha} if self.name == "momentum" else {"alpha": self.alpha, "eps": self.eps}

    @property
    def per_worker(self) -> bool:
        """Whether every worker keeps statistics of its own."""
        return self.name in ("rmsprop-local", "momentum")

    def layout(self, size: int, n_workers: int) -> Layout:
        """The arrays that the rule keeps for ``size`` parameters."""
        rows = n_workers if self.per_worker else 1
        arrays: dict[str, tuple[tuple[int, ...], Any]] = dict.fromkeys(self.statistics, ((rows, size), np.float32))
        arrays["optimizer_step"] = ((1,), np.int64)
        return arrays

    def bind(self, parameters: NDArray[np.float32], statistics: Mapping[str, NDArray[Any]], worker: int) -> Update:
        """The update as a function ``(gradient, learning_rate)`` that changes ``parameters`` and its statistics.

        Long vectors are changed block by block: a rule passes over them ten times, and a block stays in the cache.
        """
        row = worker if self.per_worker else 0
        vectors = [statistics[name][row] for name in self.statistics]
        step = statistics["optimizer_step"]
        scratch = np.empty_like(parameters[:_BLOCK])
        blocks = [
            (where, parameters[where], *(vector[where] for vector in vectors), scratch[: where.stop - where.start])
            for where in _blocks(len(parameters))
        ]

        def rmsprop(gradient: NDArray[Any], learning_rate: float) -> None:
            for where, block, square_average, space in blocks:
                rmsprop_update(block, gradient[where], square_average, space, learning_rate, self.alpha, self.eps)

        def momentum(gradient: NDArray[Any], learning_rate: float) -> None:
            for where, block, velocity, space in blocks:
                momentum_update(block, gradient[where], velocity, space, learning_rate, self.alpha)

        def adam(gradient: NDArray[Any], learning_rate: float) -> None:
            step[0] += 1  # shared: every worker's update counts in everybody's bias correction
            n = int(step[0])
            for where, block, average, square_average, space in blocks:
                adam_update(
                    block,
                    gradient[where],
                    average,
                    square_average,
                    space,
                    n,
                    learning_rate,
                    self.beta1,
                    self.beta2,
                    self.adam_eps,
                )

        return {"rmsprop": rmsprop, "rmsprop-local": rmsprop, "momentum": momentum, "adam": adam}[self.name]


def _blocks(size: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK)]


class FlatOptimizer(th.optim.Optimizer):
    """An :class:`UpdateRule` as a torch optimizer whose state is views of flat vectors.

    ``state_dict`` holds the statistics by parameter under torch's names; statistics that every worker keeps for itself
    have the worker as their first dimension. Loading copies into the vectors, so the views stay views.

    Args:
        flat: the parameters it changes.
        rule: how.
        lr: learning rate shown in ``param_groups``, beside the rule's constants; the workers compute their own from the
            schedule.
        n_workers: rows of statistics that are kept per worker.
    """

    def __init__(self, flat: FlatParameters, rule: UpdateRule, lr: float, n_workers: int = 1) -> None:
        self.rule = rule
        self.flat = flat
        self.n_workers = n_workers
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.zeros(shape, dtype) for name, (shape, dtype) in rule.layout(len(flat.vector), n_workers).items()
        }
        super().__init__(flat.parameters, {"lr": lr, **rule.constants})
        self._show_state()

    def _show_state(self) -> None:
        step = th.from_numpy(self.arrays["optimizer_step"])[0]
        # one tensor an array: torch.save writes the memory behind a view once a tensor that it was taken from
        whole = {name: th.from_numpy(self.arrays[name]) for name in self.rule.statistics}
        for parameter, where in zip(self.flat.parameters, self.flat.slices, strict=True):
            state: dict[str, th.Tensor] = {"step": step}
            for name in self.rule.statistics:
                rows = whole[name][:, where]
                shape = parameter.shape if not self.rule.per_worker else (len(rows), *parameter.shape)
                state[name] = rows.unflatten(1, (*parameter.shape,) or (1,)).reshape(shape)
            self.state[parameter] = state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradient to 0.

        Args:
            set_to_none: never done, it would part the gradients from their vector.
        """
        self.flat.zero_grad()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply the present gradient as worker 0 would.

        Args:
            closure: recomputes the loss, as for every torch optimizer.
        """
        loss = None if closure is None else closure()
        self.flat.gather()
        parameters = self.flat.vector.numpy(force=True)
        self.rule.bind(parameters, self.arrays, worker=0)(
            self.flat.gradient.numpy(force=True), self.param_groups[0]["lr"]
        )
        if self.flat.vector.device.type != "cpu":
            self.flat.vector.copy_(th.from_numpy(parameters))
        return loss

    def serves(self, flat: FlatParameters, rule: UpdateRule, n_workers: int) -> bool:
        """Whether it changes this vector by this rule, with statistics for so many workers."""
        return self.flat is flat and self.rule == rule and self.n_workers == n_workers

    def forget_frozen(self) -> None:
        """Let parameters that require no gradient stand still: a velocity that they once had would move them on."""
        for parameter, where in zip(self.flat.parameters, self.flat.slices, strict=True):
            if not parameter.requires_grad:
                for name in self.rule.statistics:
                    self.arrays[name][:, where] = 0.0

    def take_over(self, earlier: FlatOptimizer) -> None:
        """Go on from the statistics that another optimizer of the same kind has of the same parameters."""
        if earlier.rule.name != self.rule.name:
            return
        places = {id(p): where for p, where in zip(earlier.flat.parameters, earlier.flat.slices, strict=True)}
        for parameter, where in zip(self.flat.parameters, self.flat.slices, strict=True):
            if (there := places.get(id(parameter))) is not None:
                for name in self.rule.statistics:
                    self._fill(name, where, earlier.arrays[name][:, there])
        self.arrays["optimizer_step"][:] = earlier.arrays["optimizer_step"]

    def _fill(self, name: str, where: slice, rows: NDArray[Any]) -> None:
        """Set a statistic of some parameters; rows of fewer workers are repeated for the others."""
        own = self.arrays[name]
        for row in range(len(own)):
            own[row, where] = rows[row % len(rows)]

    def detached_state_dict(self) -> dict[str, Any]:
        """As ``state_dict``, but of tensors that own their memory: a pickled view brings all of the vector."""
        saved = self.state_dict()
        state = {i: {name: t.clone() for name, t in tensors.items()} for i, tensors in saved["state"].items()}
        return {**saved, "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy a saved state in; a state of fewer workers is repeated for the others. The constants stay the rule's."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for name in ("alpha", "eps", "betas"):
                group.pop(name, None)
            group.update(self.rule.constants)
        for parameter, where in zip(self.flat.parameters, self.flat.slices, strict=True):
            saved = self.state.get(parameter, {})
            for name in self.rule.statistics:
                if name not in saved:
                    raise ValueError(
                        f"The saved optimizer state has no {name!r} (it has {sorted(saved)}), but "
                        f"shared_optimizer={self.rule.name!r} needs it; load with the shared_optimizer it was saved "
                        "with."
                    )
                self._fill(name, where, saved[name].detach().cpu().numpy().reshape(-1, where.stop - where.start))
            self.arrays["optimizer_step"][0] = int(saved.get("step", 0))
        self._show_state()
