"""Compatible features of a network: grad_theta mu(s) (a - mu(s)), Silver et al. (2014), section 4.3.

Each state has its own Jacobian of mu(s), with m rows, one column for each parameter. What the updates need of them are
products: grad mu^T w for weights w of the parameters' shapes (forward mode), and sums of grad mu c over states for
numbers c (reverse mode). Both come for all states and outputs in one pass each, and no Jacobian is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch as th
from torch.func import jacrev, jvp, vjp

Tensors = tuple[th.Tensor, ...]


class Differential:
    """A function of parameters and its derivatives where the parameters are.

    Args:
        function: (parameters) -> [n, ...], of n states.
        parameters: where; tensors of any shapes.
    """

    def __init__(self, function: Callable[..., th.Tensor], parameters: Sequence[th.Tensor]) -> None:
        self._function = function
        self._parameters = tuple(part.detach() for part in parameters)
        value, pull, *_ = vjp(function, *self._parameters)
        self.value: th.Tensor = value
        self._pull: Callable[[th.Tensor], Tensors] = pull

    def along(self, direction: Sequence[th.Tensor]) -> th.Tensor:
        """[n, ...] derivative in a direction, grad^T w.

        Args:
            direction: of the parameters' shapes.
        """
        tangents = tuple(part.detach() for part in direction)
        return jvp(self._function, self._parameters, tangents)[1]

    def summed(self, coefficients: th.Tensor) -> Tensors:
        """Sum over states of grad c, of the parameters' shapes.

        Args:
            coefficients: [n, ...] like the function's value.
        """
        return self._pull(coefficients)


def per_sample_jacobian(function: Callable[..., th.Tensor], parameters: Sequence[th.Tensor]) -> Tensors:
    """The Jacobian itself, [n, m, *shape] for each parameter; for looking at it and for tests.

    Args:
        function: (parameters) -> [n, m].
        parameters: where.
    """
    where = tuple(part.detach() for part in parameters)
    return jacrev(function, argnums=tuple(range(len(where))))(*where)
