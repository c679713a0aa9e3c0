"""What the authors' public code returns on given inputs: `tests/vectors/reference.*`, read once.

Float32 on a CPU. The keys: ``gm.*`` gradient matching, ``tm.*`` trajectory matching,
``corruption.*``, ``metrics.*``; a distance called ``ours`` there is ``layerwise`` here.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trustdd.networks.convnet import ConvNet

DATA = Path(__file__).parent / "vectors"
#: the reference's names of the distances → ours
METRIC_NAMES = {"ours": "layerwise", "mse": "mse", "cos": "cosine"}


@cache
def tensors() -> dict[str, Tensor]:
    return load_file(DATA / "reference.safetensors")


@cache
def numbers() -> dict[str, Any]:
    return json.loads((DATA / "reference.json").read_text())


def parameters(prefix: str) -> list[Tensor]:
    """A reference network's parameters in the order of ours: blocks, then the classifier."""
    names = [
        f"{prefix}.features.{layer}.{kind}"
        for block in range(numbers()["depth"])
        for layer in (4 * block, 4 * block + 1)
        for kind in ("weight", "bias")
    ]
    names += [f"{prefix}.classifier.weight", f"{prefix}.classifier.bias"]
    return [tensors()[name] for name in names]


def network(prefix: str) -> nn.Module:
    """Our ConvNet with a reference network's parameters."""
    facts = numbers()
    ours = ConvNet(3, facts["classes"], 32, width=facts["width"], depth=facts["depth"])
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), parameters(prefix), strict=True):
            assert mine.shape == theirs.shape
            mine.copy_(theirs)
    return ours


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Euclidean distance as a share of the reference's length."""
    return float((ours - theirs).norm() / theirs.norm())
