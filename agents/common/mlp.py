"""A multi-layer perceptron in NumPy, forward and backward, on the memory of a torch one.

For batches of a few rows torch spends its time in dispatch and bookkeeping: 170 us for an SB3 policy's forward pass,
against 4 us here. The weights are views of the same flat vector that torch's tensors are views of; a test checks both
directions against autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float32]

# NumPy takes as long to make a Python number its own as to multiply a few rows by it.
_ONE = np.array(1.0, dtype=np.float32)


@dataclass(frozen=True)
class Activation:
    """An elementwise function with the derivative written in terms of its result.

    Attributes:
        apply: (array, out), a NumPy ufunc or something that is called like one; out is the array itself.
        backpropagate: (result, gradient, scratch) -> None, multiplies the gradient in place by the derivative.
    """

    apply: Callable[[Array, Array], Any]
    backpropagate: Callable[[Array, Array, Array], Any]


def _tanh_backward(result: Array, gradient: Array, scratch: Array) -> None:
    np.multiply(result, result, scratch)
    np.subtract(_ONE, scratch, scratch)
    np.multiply(gradient, scratch, gradient)


def _relu_backward(result: Array, gradient: Array, scratch: Array) -> None:
    gradient *= result > 0.0


def _relu(x: Array, out: Array) -> None:
    np.maximum(x, 0.0, out=out)


def _sigmoid(x: Array, out: Array) -> None:
    # by tanh: exp(-x) would overflow for large negative x
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    out += 1.0
    out *= 0.5


def _sigmoid_backward(result: Array, gradient: Array, scratch: Array) -> None:
    np.subtract(_ONE, result, scratch)
    scratch *= result
    gradient *= scratch


def _elu(x: Array, out: Array) -> None:
    np.copyto(out, np.where(x < 0.0, np.expm1(np.minimum(x, 0.0)), x))


def _elu_backward(result: Array, gradient: Array, scratch: Array) -> None:
    np.minimum(result, 0.0, out=scratch)
    scratch += 1.0
    gradient *= scratch


_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.Tanh: Activation(np.tanh, _tanh_backward),
    nn.ReLU: Activation(_relu, _relu_backward),
    nn.Sigmoid: Activation(_sigmoid, _sigmoid_backward),
    nn.ELU: Activation(_elu, _elu_backward),
    nn.Identity: Activation(lambda x, out: None, lambda result, gradient, scratch: None),
}


@dataclass(frozen=True)
class Layer:
    """One linear map and what follows it; weight (out, in) and bias (out,), with their gradients."""

    weight: Array
    bias: Array
    weight_gradient: Array
    bias_gradient: Array
    activation: Activation | None


def layers_of(modules: Sequence[nn.Module]) -> list[Layer] | None:
    """Linear layers and activations of a torch MLP as NumPy views, or None where it is something else.

    Args:
        modules: in order; every parameter must have a gradient to view, and require one: frozen ones are left to
            autograd, which can leave them out.
    """
    layers: list[Layer] = []
    for module in modules:
        if type(module) is nn.Linear and module.bias is not None:
            weight, bias = module.weight, module.bias
            if weight.grad is None or bias.grad is None or not (weight.requires_grad and bias.requires_grad):
                return None
            layers.append(
                Layer(
                    weight.detach().numpy(),
                    bias.detach().numpy(),
                    weight.grad.numpy(),
                    bias.grad.numpy(),
                    activation=None,
                )
            )
            continue
        activation = _ACTIVATIONS.get(type(module))
        if activation is None or not layers or layers[-1].activation is not None:
            return None
        if isinstance(module, nn.ELU) and module.alpha != 1.0:
            return None
        last = layers[-1]
        layers[-1] = Layer(last.weight, last.bias, last.weight_gradient, last.bias_gradient, activation)
    return layers or None


class Perceptron:
    """Forward and backward passes of a fixed number of rows, without allocating.

    Rows are written one group at a time while acting (:meth:`forward_rows`) and kept, so that the backward pass needs
    no second forward pass.

    Args:
        layers: at least one; the last one usually without activation.
        n_groups: groups of rows, one a time step.
        rows: rows a group, one an environment.
    """

    def __init__(self, layers: Sequence[Layer], n_groups: int, rows: int) -> None:
        self.layers = list(layers)
        self.rows = rows
        widths = [len(layer.bias) for layer in self.layers]
        n = n_groups * rows
        self._results = [np.zeros((n, width), dtype=np.float32) for width in widths]
        self._gradients = [np.zeros_like(result) for result in self._results]
        self._scratch = [np.zeros_like(result) for result in self._results]
        self._ones = np.ones(n, dtype=np.float32)
        self._views: dict[int, tuple[Array, list[Array], list[Array], list[Array]]] = {}
        activations = [layer.activation.apply if layer.activation else None for layer in self.layers]
        self._steps = [
            (layer.weight.T, layer.bias, activate) for layer, activate in zip(self.layers, activations, strict=True)
        ]
        # One row is a vector: matrix times vector, and adding two vectors, cost half of what (1, n) matrices do.
        self._vector_steps = [
            [
                (layer.weight.dot, layer.bias, activate, result[group])
                for layer, activate, result in zip(self.layers, activations, self._results, strict=True)
            ]
            for group in range(n_groups if rows == 1 else 0)
        ]

    @property
    def outputs(self) -> Array:
        """Results of the last layer, (n_groups * rows, width)."""
        return self._results[-1]

    def forward_rows(self, inputs: Array, group: int) -> Array:
        """Results for one group of inputs, kept for :meth:`backward`.

        Args:
            inputs: (rows, n_inputs), or (n_inputs,) where there is one row a group.
            group: from 0.

        Returns:
            (rows, width), or (width,).
        """
        x = inputs
        if self.rows == 1:
            for dot, bias, activate, out in self._vector_steps[group]:
                dot(x, out)
                np.add(out, bias, out)
                if activate is not None:
                    activate(out, out)
                x = out
            return x
        where = slice(group * self.rows, (group + 1) * self.rows)
        for (weights, bias, activate), result in zip(self._steps, self._results, strict=True):
            out = result[where]
            x.dot(weights, out)
            np.add(out, bias, out)
            if activate is not None:
                activate(out, out)
            x = out
        return x

    def forward(self, inputs: Array) -> Array:
        """Results (n, width) for the first n rows at once; kept for :meth:`backward`."""
        x = inputs
        _, results, _, _ = self._first(len(inputs))
        for (weights, bias, activate), result in zip(self._steps, results, strict=True):
            x = x.dot(weights, result)
            np.add(x, bias, x)
            if activate is not None:
                activate(x, x)
        return x

    def evaluate(self, inputs: Array) -> Array:
        """Results for other inputs (n, n_inputs), in new memory, without touching what :meth:`backward` needs."""
        x = inputs
        for weights, bias, activate in self._steps:
            x = np.dot(x, weights)
            x += bias
            if activate is not None:
                activate(x, x)
        return x

    def along(self, inputs: Array, direction: Sequence[Layer]) -> Array:
        """Derivative of the first n rows' results in a direction of the parameters (forward mode), in new memory.

        With x, x' the input of a layer and its derivative, the one of W x + b is W x' + dW x + db.

        Args:
            inputs: (n, n_inputs), those of the forward pass.
            direction: dW and db, the weights and biases of layers of the same shapes.

        Returns:
            (n, width).
        """
        n = len(inputs)
        x, tangent = inputs, None
        for i, (layer, change) in enumerate(zip(self.layers, direction, strict=True)):
            along = np.dot(x, change.weight.T)
            along += change.bias
            if tangent is not None:
                along += np.dot(tangent, layer.weight.T)
            x, tangent = self._results[i][:n], along
            if layer.activation is not None:
                layer.activation.backpropagate(x, tangent, self._scratch[i][:n])
        assert tangent is not None
        return tangent

    def backward(self, inputs: Array, output_gradient: Array, into: Sequence[Layer] | None = None) -> Array:
        """Write the gradients of all weights and biases for the first n rows, overwriting what was there.

        Args:
            inputs: (n, n_inputs), those of the forward pass.
            output_gradient: (n, width), of the loss by the results; overwritten.
            into: layers of the same shapes whose gradients are to be written in place of these layers' own.

        Returns:
            the gradient by what the first layer gives before its activation, for :meth:`by_inputs`.
        """
        ones, results, gradients, scratch = self._first(len(output_gradient))
        gradient = output_gradient
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            if layer.activation is not None:
                layer.activation.backpropagate(results[i], gradient, scratch[i])
            target = layer if into is None else into[i]
            # the method, because np.dot looks for overriding types first
            gradient.T.dot(results[i - 1] if i else inputs, target.weight_gradient)
            ones.dot(gradient, target.bias_gradient)
            if i:
                gradient = gradient.dot(layer.weight, gradients[i - 1])
        return gradient

    def _first(self, n: int) -> tuple[Array, list[Array], list[Array], list[Array]]:
        """The first n rows of a column of ones and of each layer's results, gradients and scratch; made once an n."""
        views = self._views.get(n)
        if views is None:
            parts = (self._results, self._gradients, self._scratch)
            results, gradients, scratch = ([array[:n] for array in arrays] for arrays in parts)
            views = self._views[n] = self._ones[:n], results, gradients, scratch
        return views

    def by_inputs(self, gradient: Array) -> Array:
        """The gradient by the inputs, (n, n_inputs), in new memory, from what :meth:`backward` answered."""
        found: Array = np.dot(gradient, self.layers[0].weight)
        return found
