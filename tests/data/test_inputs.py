"""Inputs are normalised as the method that reads them is published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from data_files import write_cifar

from trustdd.data.inputs import WhitenedData, load_inputs
from trustdd.settings.experiment import Experiment


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar")
    for name in ("cifar10", "cifar100"):
        write_cifar(folder, name, per_batch=100)
    return folder


def black_and_white(experiment: Experiment) -> tuple[torch.Tensor, torch.Tensor]:
    data = load_inputs(experiment)
    images = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]).mul(255).byte()
    black, white = data.normalise(images)[:, :, 0, 0]
    return black, white


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("method", ["dc", "dsa"])
def test_gradient_matching_uses_the_pixels_own_statistics(
    root: Path, dataset: str, method: str
) -> None:
    stds = {"cifar10": [63.0, 62.1, 66.7], "cifar100": [68.2, 65.4, 70.4]}
    black, white = black_and_white(
        Experiment(dataset=dataset, method=method, data_root=str(root))
    )
    torch.testing.assert_close(255 / (white - black), torch.tensor(stds[dataset]), atol=0.06, rtol=0)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_trajectory_matching_without_zca_uses_those_of_its_own_code(
    root: Path, dataset: str
) -> None:
    experiment = Experiment(dataset=dataset, method="mtt", zca=False, data_root=str(root))
    black, white = black_and_white(experiment)
    torch.testing.assert_close(1 / (white - black), torch.tensor([0.2023, 0.1994, 0.2010]))
    torch.testing.assert_close(black / (black - white), torch.tensor([0.4914, 0.4822, 0.4465]))
    assert not isinstance(load_inputs(experiment), WhitenedData)
