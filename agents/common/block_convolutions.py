"""Convolutions whose kernels are two strides wide, as one matrix product on blocks of pixels.

The paper's network has 8 x 8 kernels by 4 and 4 x 4 kernels by 2 (Mnih et al. 2016, section 8). Cut into blocks of
stride x stride pixels, an image is a grid of vectors, and every result is a sum over the four blocks that its kernel
covers. One product gives what each block contributes to the four results around it, and no pixel is copied twice, as
rearranging images into columns would::

    blocks (grid, stride^2 C) @ weights (stride^2 C, 4 O)  ->  contributions (grid, 4, O)
    result[y, x] = bias + sum over a, b in {0, 1} of contributions[y + a, x + b, 2 a + b]

For the few images of an actor torch's convolution takes up to twice as long, because it rearranges its weights in every
call; for the many of a gradient it is the faster one.
"""

from __future__ import annotations

import torch as th
from torch import nn


class BlockConvolution:
    """Forward pass of one convolution and ReLU, for a fixed number of images.

    Args:
        layer: the convolution.
        size: (height, width) of the images.
        n_images: a pass.
    """

    def __init__(self, layer: nn.Conv2d, size: tuple[int, int], n_images: int) -> None:
        assert layer.bias is not None
        self._bias = layer.bias.detach()
        self._stride = s = layer.stride[0]
        self._channels, self._width = channels, width = layer.in_channels, layer.out_channels
        # pixels beyond the last kernel are in no block
        self._rows, self._columns = rows, columns = size[0] // s, size[1] // s
        self._weights = th.zeros(s * s * channels, 4 * width)
        self._blocks = th.zeros(n_images * rows * columns, s * s * channels)
        self._contributions = th.zeros(n_images * rows * columns, 4 * width)
        # the blocks as an image, channels last
        self._images = self._blocks.view(n_images, rows, columns, s, s, channels).transpose(2, 3)
        # Shifted so, rows of the four parts add up to one result. The last row and column of each grid get sums that
        # mean nothing, which costs less than leaving them out.
        n = len(self._contributions) - columns - 1
        self._sums, *self._others = (
            self._contributions[shift : shift + n, i * width : (i + 1) * width]
            for i, shift in enumerate((0, 1, columns, columns + 1))
        )
        whole = self._contributions.view(n_images, rows, columns, 4 * width)
        self._results = whole[:, :-1, :-1, :width].permute(0, 3, 1, 2)

    @staticmethod
    def serves(layer: nn.Conv2d) -> bool:
        """Whether a plain convolution is one of these."""
        stride, _ = layer.stride
        return layer.stride == (stride, stride) and layer.kernel_size == (2 * stride,) * 2 and layer.padding == (0, 0)

    def begin(self, weight: th.Tensor) -> None:
        """Take a new weight (O, C, 2 stride, 2 stride)."""
        s = self._stride
        by_corner = weight.view(self._width, self._channels, 2, s, 2, s).permute(3, 5, 1, 2, 4, 0)
        self._weights.view(by_corner.shape).copy_(by_corner)

    def cut(self, images: th.Tensor) -> th.Tensor:
        """Images (n, C, height, width) as (n, rows, stride, columns, stride, C), a view."""
        rows, columns, s = self._rows, self._columns, self._stride
        used = images.permute(0, 2, 3, 1)[:, : rows * s, : columns * s]
        return used.unflatten(2, (columns, s)).unflatten(1, (rows, s))

    def forward(self, images: th.Tensor, out: th.Tensor) -> None:
        """Write the results.

        Args:
            images: what :meth:`cut` answered, of any type.
            out: (n, O, rows - 1, columns - 1), channels last in memory.
        """
        self._images.copy_(images)
        th.mm(self._blocks, self._weights, out=self._contributions)
        for part in self._others:
            self._sums.add_(part)
        self._sums.add_(self._bias)
        th.clamp_min(self._results, 0.0, out=out)
