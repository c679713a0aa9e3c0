"""Pooling by a matrix product is PyTorch's pooling, in value and in both derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trustdd.networks.pooling import AveragePool


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 4, 6), (3, 1, 2, 2), (2, 2, 5, 7)])
def test_it_is_average_pooling(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(AveragePool()(images), F.avg_pool2d(images, 2))
    assert torch.allclose(
        AveragePool()(images.to(memory_format=torch.channels_last)), F.avg_pool2d(images, 2)
    )


def test_first_and_second_derivatives() -> None:
    images = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)

    def squared(x: torch.Tensor) -> torch.Tensor:
        return AveragePool()(x * x) ** 2

    assert torch.autograd.gradcheck(squared, images)
    assert torch.autograd.gradgradcheck(squared, images)


def test_a_first_use_in_inference_mode_does_not_spoil_training() -> None:
    with torch.inference_mode():
        AveragePool()(torch.randn(1, 1, 24, 24))
    images = torch.randn(1, 1, 24, 24, requires_grad=True)
    AveragePool()(images).sum().backward()
    assert torch.allclose(images.grad, torch.full_like(images, 0.25))
