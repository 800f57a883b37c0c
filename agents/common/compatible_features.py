"""Compatible features of a network: grad_theta mu(s) (a - mu(s)), Silver et al. (2014), section 4.3.

Each state has its own Jacobian of mu(s), with m rows, one column for each parameter. What the updates need of them are
products: grad mu^T w for weights w of the parameters' shapes (forward mode), and sums of grad mu c over states for
numbers c (reverse mode). Both come for all states and outputs in one pass each, and no Jacobian is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch as th
from torch.func import jacrev, jvp

Tensors = tuple[th.Tensor, ...]


class Differential:
    """A function of parameters and its derivatives where the parameters are.

    Args:
        function: (parameters) -> [n, ...], of n states; it may leave some of them out.
        parameters: where; tensors of any shapes.
    """

    def __init__(self, function: Callable[..., th.Tensor], parameters: Sequence[th.Tensor]) -> None:
        self._function = function
        self._parameters = tuple(part.detach().requires_grad_() for part in parameters)
        with th.enable_grad():
            self._output = function(*self._parameters)
        self.value = self._output.detach()
        self._row: Tensors | None = None
        if self._output.numel() == 1:
            # One state and one output: the Jacobian is a single gradient, and all products are cheap.
            self._row = th.autograd.grad(self._output.sum(), self._parameters, materialize_grads=True)

    def along(self, direction: Sequence[th.Tensor]) -> th.Tensor:
        """[n, ...] derivative in a direction, grad^T w.

        Args:
            direction: of the parameters' shapes.
        """
        tangents = tuple(part.detach() for part in direction)
        if self._row is not None:
            return th.dot(_flat(self._row), _flat(tangents)).reshape(self.value.shape)
        where = tuple(part.detach() for part in self._parameters)
        return jvp(self._function, where, tangents)[1]

    def summed(self, coefficients: th.Tensor) -> Tensors:
        """Sum over states of grad c, of the parameters' shapes.

        Args:
            coefficients: [n, ...] like the function's value.
        """
        if self._row is not None:
            return tuple(th._foreach_mul(self._row, coefficients.detach().reshape(())))
        return th.autograd.grad(
            self._output, self._parameters, coefficients.detach(), retain_graph=True, materialize_grads=True
        )


def _flat(tensors: Tensors) -> th.Tensor:
    return th.cat([part.reshape(-1) for part in tensors])


def per_sample_jacobian(function: Callable[..., th.Tensor], parameters: Sequence[th.Tensor]) -> Tensors:
    """The Jacobian itself, [n, m, *shape] for each parameter; for looking at it and for tests.

    Args:
        function: (parameters) -> [n, m].
        parameters: where.
    """
    where = tuple(part.detach() for part in parameters)
    return jacrev(function, argnums=tuple(range(len(where))))(*where)
