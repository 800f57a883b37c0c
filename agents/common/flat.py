"""A module's parameters as one flat vector, its tensors and their gradients being views of it."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch as th
from torch import nn


class FlatParameters:
    """One contiguous float32 vector behind all parameters of a module, and one behind their gradients.

    After construction every parameter's ``data`` is a view of :attr:`vector` and its ``grad`` a view of
    :attr:`gradient`. Backward passes accumulate into the gradient vector as long as ``grad`` is never set to None, so
    clear it with :meth:`zero_grad`, not with ``Module.zero_grad()`` (which drops the views since torch 2.0).

    Args:
        parameters: the parameters in the order of the vector; each appears once, all float32 on one device.
        vector: (P,) memory to use, else new memory; the parameters' present values are copied into it.
        take_vector: copy the other way: the parameters take the values that the vector holds.

    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], vector: th.Tensor | None = None, take_vector: bool = False
    ) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("The policy has no parameters to learn.")
        wrong = {p.dtype for p in self.parameters} - {th.float32}
        if wrong:
            raise ValueError(
                f"The policy has parameters of type {wrong}; asynchronous workers share one vector of float32. "
                "Convert the policy with .float()."
            )
        device = self.parameters[0].device
        size = sum(p.numel() for p in self.parameters)
        self.vector = th.empty(size, dtype=th.float32, device=device) if vector is None else vector
        self.gradient = th.zeros(size, dtype=th.float32, device=device)
        self.slices: list[slice] = []
        start = 0
        with th.no_grad():
            for parameter in self.parameters:
                stop = start + parameter.numel()
                if not take_vector:
                    self.vector[start:stop].copy_(parameter.reshape(-1))
                parameter.data = self.vector[start:stop].view(parameter.shape)
                parameter.grad = self.gradient[start:stop].view(parameter.shape)
                self.slices.append(slice(start, stop))
                start = stop

    def zero_grad(self) -> None:
        """Set the gradient to 0 in place, keeping the views."""
        self.gradient.zero_()

    def gather(self) -> None:
        """Take in values and gradients that have left the vectors, and make them views again.

        ``Module.zero_grad()``, ``Module.to()`` and ``vector_to_parameters`` give a parameter memory of its own.
        """
        with th.no_grad():
            for parameter, where in zip(self.parameters, self.slices, strict=True):
                value = self.vector[where].view(parameter.shape)
                if parameter.data_ptr() != value.data_ptr():
                    value.copy_(parameter)
                    parameter.data = value
                gradient = self.gradient[where].view(parameter.shape)
                if parameter.grad is None:
                    gradient.zero_()
                elif parameter.grad.data_ptr() != gradient.data_ptr():
                    gradient.copy_(parameter.grad)
                parameter.grad = gradient

    def consists_of(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Whether these very parameters, in this order, make up the vector."""
        others = list(parameters)
        return len(others) == len(self.parameters) and all(map(operator.is_, others, self.parameters))

    def slice_of(self, parameter: nn.Parameter) -> slice:
        """Where a parameter lies in the vector."""
        for own, where in zip(self.parameters, self.slices, strict=True):
            if own is parameter:
                return where
        raise KeyError("not a parameter of this vector")


def flatten_buffers(module: nn.Module, vectors: dict[str, th.Tensor] | None = None) -> dict[str, th.Tensor]:
    """Put a module's buffers (running statistics of batch norm) into one vector a type, the buffers being views of it.

    Layers that update their buffers in place then update the vectors: over shared memory, everybody's.

    Args:
        module: whose buffers.
        vectors: type name -> memory to use, whose values the buffers take; None makes new memory of the present values.

    Returns:
        type name ("float32", "int64") -> vector; empty where there are no buffers.
    """
    places: dict[str, list[tuple[nn.Module, str, th.Tensor]]] = {}
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            places.setdefault(str(buffer.dtype).removeprefix("torch."), []).append((owner, name, buffer))
    if vectors is None:
        vectors = {kind: th.cat([buffer.reshape(-1) for _, _, buffer in found]) for kind, found in places.items()}
    for kind, found in places.items():
        start = 0
        for owner, name, buffer in found:
            stop = start + buffer.numel()
            setattr(owner, name, vectors[kind][start:stop].view(buffer.shape))
            start = stop
    return vectors


def normalizes_batches(module: nn.Module) -> bool:
    """Whether a module holds batch norm, which cannot train on a batch of one row."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
