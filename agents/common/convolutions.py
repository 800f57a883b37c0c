"""Convolutional features of images, forward and backward, in torch without autograd.

Four things make this several times as fast as a module on the CPU: layers' results are kept while acting, so that the
gradient needs no second forward pass; memory is channels last, in which the gradients of convolutions cost a third;
pixels are never divided by 255, the first layer's weights are; and the few images of an actor pass as blocks (see
:mod:`agents.common.block_convolutions`). A test checks both directions against autograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from agents.common.block_convolutions import BlockConvolution

_LAST = th.channels_last
# So many images at once pass as blocks; from here on torch's convolutions are the faster ones.
_FEW = 4


@dataclass(frozen=True)
class ImageNetwork:
    """Convolutions, each followed by ReLU, then one linear layer with ReLU."""

    convolutions: tuple[nn.Conv2d, ...]
    linear: nn.Linear

    @classmethod
    def of(cls, convolutional: nn.Module, linear: nn.Module) -> ImageNetwork | None:
        """The network that two sequences of torch modules make, or None where they are something else.

        Args:
            convolutional: Conv2d and ReLU in turn, then Flatten.
            linear: Linear, ReLU.
        """
        if type(convolutional) is not nn.Sequential or type(linear) is not nn.Sequential:
            return None
        *pairs, flatten = convolutional
        kinds = [type(module) for module in pairs]
        if type(flatten) is not nn.Flatten or not pairs or kinds != [nn.Conv2d, nn.ReLU] * (len(pairs) // 2):
            return None
        if [type(module) for module in linear] != [nn.Linear, nn.ReLU]:
            return None
        convolutions = tuple(module for module in pairs if isinstance(module, nn.Conv2d))
        last = linear[0]
        assert isinstance(last, nn.Linear)
        if not all(_is_plain(part) for part in convolutions) or last.bias is None:
            return None
        # frozen ones are left to autograd, which can leave them out
        if not all(p.requires_grad for layer in (*convolutions, last) for p in layer.parameters()):
            return None
        return cls(convolutions, last)

    @property
    def n_parameters(self) -> int:
        """How many numbers it learns."""
        return sum(p.numel() for layer in (*self.convolutions, self.linear) for p in layer.parameters())


def _is_plain(layer: nn.Conv2d) -> bool:
    return (
        layer.bias is not None
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


class _TorchConvolution:
    """Forward pass of any convolution and ReLU, with the methods of :class:`BlockConvolution`."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer = layer
        self._bias = _present(layer.bias).detach()
        self._weight = layer.weight.detach()

    def begin(self, weight: th.Tensor) -> None:
        """Take a new weight."""
        self._weight = weight

    def cut(self, images: th.Tensor) -> th.Tensor:
        """Images as they are taken."""
        return images

    def forward(self, images: th.Tensor, out: th.Tensor) -> None:
        """Write the results."""
        layer = self._layer
        results = functional.conv2d(images.float(), self._weight, self._bias, layer.stride, layer.padding)
        th.clamp_min(results, 0.0, out=out)


class ImageFeatures:
    """Forward and backward passes of an :class:`ImageNetwork` for the images of one segment.

    Args:
        network: its parameters and their ``grad`` are read and written in place.
        scale: what pixels are multiplied by, 1/255 for bytes.
        pixels: (n_rows, n_envs, channels, height, width), where the images will be.
        features: (n_rows * n_envs, width), where their features are written.
    """

    def __init__(
        self, network: ImageNetwork, scale: float, pixels: NDArray[Any], features: NDArray[np.float32]
    ) -> None:
        n_rows, n_envs, channels, height, width = pixels.shape
        n = n_rows * n_envs
        self._scale = scale
        self._n_envs = n_envs
        self._layers = network.convolutions
        self._linear = network.linear
        self._features = th.from_numpy(features)
        # channels last in memory, the images in their own type and as floats
        self._pixels = th.from_numpy(np.zeros((n, height, width, channels), pixels.dtype)).permute(0, 3, 1, 2)
        self._images = th.zeros(n, height, width, channels).permute(0, 3, 1, 2)
        self._results: list[th.Tensor] = []
        self._passes: list[BlockConvolution | _TorchConvolution] = []
        for layer in self._layers:
            in_blocks = n_envs <= _FEW and BlockConvolution.serves(layer)
            self._passes.append(
                BlockConvolution(layer, (height, width), n_envs) if in_blocks else _TorchConvolution(layer)
            )
            height, width = _size_after(layer, height, width)
            self._results.append(th.zeros(n, height, width, layer.out_channels).permute(0, 3, 1, 2))
        # the last results in the order of the linear layer's weights
        self._flat = th.zeros(n, network.linear.in_features)
        self._weights = [layer.weight.detach() for layer in self._layers]
        self._weight = network.linear.weight.detach().numpy()
        self._bias = _present(network.linear.bias).detach().numpy()
        self._products = np.zeros((len(self._bias), n_envs), dtype=np.float32)
        self._rows = [
            self._row(pixels[row], features, slice(row * n_envs, (row + 1) * n_envs)) for row in range(n_rows)
        ]

    def _row(self, pixels: NDArray[Any], features: NDArray[np.float32], where: slice) -> _Row:
        kept = self._pixels[where]
        inputs = [kept, *(results[where] for results in self._results)]
        flat = self._flat[where]
        return _Row(
            channels=[(kept[:, channel].numpy(), pixels[:, channel]) for channel in range(pixels.shape[1])],
            passes=[
                (one, one.cut(taken), given)
                for one, taken, given in zip(self._passes, inputs[:-1], inputs[1:], strict=True)
            ],
            last=inputs[-1],
            flat=flat.view(inputs[-1].shape),
            columns=flat.numpy().T,
            features=features[where],
        )

    def begin(self) -> None:
        """The parameters have changed."""
        self._weights = [layer.weight.detach().contiguous(memory_format=_LAST) for layer in self._layers]
        self._weights[0] = self._weights[0] * self._scale
        for one, weight in zip(self._passes, self._weights, strict=True):
            one.begin(weight)

    def forward(self, row: int) -> None:
        """Write the features of one row of images, and keep what :meth:`backward` needs."""
        steps = self._rows[row]
        for target, source in steps.channels:
            np.copyto(target, source)
        for one, taken, given in steps.passes:
            one.forward(taken, given)
        steps.flat.copy_(steps.last)
        # so the weights are read once and in their order, which takes half the time of images @ weights.T
        np.dot(self._weight, steps.columns, self._products)
        np.add(self._products.T, self._bias, steps.features)
        np.maximum(steps.features, 0.0, out=steps.features)

    def evaluate(self, images: th.Tensor) -> th.Tensor:
        """Features (n, width) of other images (n, channels, height, width), in new memory."""
        x = images.float()
        for layer, weight in zip(self._layers, self._weights, strict=True):
            x = functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding).relu_()
        return functional.linear(x.flatten(1), self._linear.weight, self._linear.bias).relu_().detach()

    def backward(self, gradient: th.Tensor) -> None:
        """Write the gradients of all parameters, overwriting what was there.

        Args:
            gradient: (n, width), of the loss by the features of the first n images; overwritten.
        """
        n = len(gradient)
        _backpropagate_relu(self._features[:n], gradient)
        th.mm(gradient.t(), self._flat[:n], out=_present(self._linear.weight.grad))
        th.sum(gradient, 0, out=_present(_present(self._linear.bias).grad))
        by_results = gradient @ self._linear.weight.detach()
        by_results = by_results.view(self._results[-1][:n].shape).contiguous(memory_format=_LAST)
        images = self._images[:n].copy_(self._pixels[:n])
        for i in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[i]
            _backpropagate_relu(self._results[i][:n], by_results)
            by_results, weight, bias = th.ops.aten.convolution_backward(
                by_results,
                self._results[i - 1][:n] if i else images,
                self._weights[i],
                [layer.out_channels],
                layer.stride,
                layer.padding,
                (1, 1),
                False,
                (0, 0),
                1,
                (i > 0, True, True),
            )
            _present(layer.weight.grad).copy_(weight if i else weight.mul_(self._scale))
            _present(_present(layer.bias).grad).copy_(bias)


@dataclass(frozen=True)
class _Row:
    """What the forward pass of one row of images works on; made once, because a view costs as much as a small product.

    Attributes:
        channels: by channel, where it is copied to and from.
        passes: by convolution, what it takes and where it writes.
        last: the last one's results, channels last in memory.
        flat: their copy, channels first.
        columns: the same as (width, n_envs).
        features: (n_envs, width).
    """

    channels: list[tuple[NDArray[Any], NDArray[Any]]]
    passes: list[tuple[BlockConvolution | _TorchConvolution, th.Tensor, th.Tensor]]
    last: th.Tensor
    flat: th.Tensor
    columns: NDArray[np.float32]
    features: NDArray[np.float32]


def _size_after(layer: nn.Conv2d, height: int, width: int) -> tuple[int, int]:
    assert not isinstance(layer.padding, str)
    (across, along), (tall, wide), (down, right) = layer.padding, layer.kernel_size, layer.stride
    return (height + 2 * across - tall) // down + 1, (width + 2 * along - wide) // right + 1


def _backpropagate_relu(results: th.Tensor, gradient: th.Tensor) -> None:
    th.ops.aten.threshold_backward.grad_input(gradient, results, 0.0, grad_input=gradient)


def _present(tensor: th.Tensor | None) -> th.Tensor:
    assert tensor is not None
    return tensor
