"""ZCA whitening: decorrelate pixels while staying as near as possible to the picture.

Trajectory matching is published with ZCA on CIFAR (Cazenavette et al., *Dataset
Distillation by Matching Training Trajectories*, CVPR 2022): images in [0, 1] are
centred and multiplied by ``(C + ε I)^(-1/2)``, `C` the pixels' covariance, and the
result takes the place of the usual per-channel normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trustdd.store.tensors import read_tensors, write_tensors
from trustdd.settings.errors import BadInput

#: most pixel values (channels x height x width) a whitening takes: 3x64x64, two matrices of 0.6 GB
MAX_VALUES = 3 * 64 * 64
#: the ridge that the published experiments whiten with
EPSILON = 0.1


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fitted ZCA transform of images of one shape.

    Attributes:
        mean: float32 [d], the mean training image; ``d = channels · height · width``.
        matrix: float32 [d, d], symmetric, ``(C + ε I)^(-1/2)``.
        inverse: float32 [d, d], symmetric, ``(C + ε I)^(1/2)``.
        image_shape: channels, height, width.
        epsilon: the ridge ε > 0, in squared units of [0, 1] pixels.
    """

    mean: Tensor
    matrix: Tensor
    inverse: Tensor
    image_shape: tuple[int, int, int]
    epsilon: float

    def apply(self, images: Tensor) -> Tensor:
        """Whiten images.

        Args:
            images: [n, c, h, w], uint8 or float in [0, 1].

        Returns:
            float32 [n, c, h, w], what a network is fed. Differentiable for float images.

        Raises:
            ValueError: the images have another shape than those it was fitted on.
        """
        values = images / 255 if images.dtype == torch.uint8 else images
        flat = self._flat(values.to(torch.float32))
        return ((flat - self.mean) @ self.matrix).reshape(images.shape)

    def pictures(self, whitened: Tensor) -> Tensor:
        """Undo `apply`: whitened [n, c, h, w] → pixels, in [0, 1] up to what was changed since.

        Raises:
            ValueError: the images have another shape than those it was fitted on.
        """
        return (self._flat(whitened) @ self.inverse + self.mean).reshape(whitened.shape)

    def to(self, device: str | torch.device) -> Whitening:
        """Return the transform with its tensors on `device`."""
        return replace(
            self,
            mean=self.mean.to(device),
            matrix=self.matrix.to(device),
            inverse=self.inverse.to(device),
        )

    def save(self, path: Path) -> Path:
        """Write the transform as safetensors, atomically."""
        tensors = {"mean": self.mean, "matrix": self.matrix, "inverse": self.inverse}
        shape = "x".join(map(str, self.image_shape))
        return write_tensors(path, tensors, {"image_shape": shape, "epsilon": repr(self.epsilon)})

    def _flat(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.image_shape:
            raise BadInput(
                f"images of shape {tuple(images.shape[1:])}; this whitening was fitted on "
                f"{self.image_shape}"
            )
        return images.reshape(len(images), -1)


def check_whitening(image_shape: tuple[int, int, int]) -> None:
    """Raise ValueError where images of this shape have too many values to be whitened."""
    values = image_shape[0] * image_shape[1] * image_shape[2]
    if values > MAX_VALUES:
        shape = "x".join(map(str, image_shape))
        need = 8 * values**2 / 2**30
        raise BadInput(
            f"zca on {shape} images needs a {values} x {values} covariance ({need:.0f} GiB); "
            f"expected at most {MAX_VALUES} values an image (3x64x64): set zca to false"
        )


def fit_whitening(images: Tensor, epsilon: float = EPSILON, chunk: int = 2048) -> Whitening:
    """Fit ZCA on a training set.

    The covariance (divisor n − 1) is summed in float64, `chunk` images at a time, so the set
    is never held as floats. Same images, same bytes on the same machine.

    Args:
        images: uint8 or float [n, c, h, w]; floats in [0, 1].
        epsilon: the ridge ε > 0 added to every eigenvalue.
        chunk: images a product.

    Raises:
        ValueError: fewer than two images, a ridge that is not positive, or images with more
            values than `MAX_VALUES`.
    """
    if len(images) < 2:
        raise BadInput(f"zca on {len(images)} images; expected at least 2")
    if not epsilon > 0:
        raise BadInput(f"epsilon {epsilon!r}; expected a number > 0")
    channels, height, width = (int(n) for n in images.shape[1:])
    check_whitening((channels, height, width))
    values = channels * height * width
    flat = images.reshape(len(images), values)
    mean = torch.zeros(values, dtype=torch.float64, device=images.device)
    for part in flat.split(chunk):
        mean += _unit(part).sum(0)
    mean /= len(images)
    covariance = torch.zeros(values, values, dtype=torch.float64, device=images.device)
    for part in flat.split(chunk):
        centred = _unit(part) - mean
        covariance.addmm_(centred.T, centred)
    covariance /= len(images) - 1
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    # rounding can leave an eigenvalue of a flat direction a hair below zero
    scale = (eigenvalues.clamp_min(0) + epsilon).sqrt()
    matrix = (vectors / scale) @ vectors.T
    inverse = (vectors * scale) @ vectors.T
    return Whitening(
        mean.float(), matrix.float(), inverse.float(), (channels, height, width), float(epsilon)
    )


def load_whitening(path: Path) -> Whitening:
    """Read a stored whitening.

    Raises:
        ValueError: the file is missing, damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    if not {"mean", "matrix", "inverse"} <= tensors.keys() or "image_shape" not in metadata:
        raise BadInput(f"{path}: holds {', '.join(sorted(tensors))}; expected a stored whitening")
    channels, height, width = map(int, metadata["image_shape"].split("x"))
    return Whitening(
        tensors["mean"], tensors["matrix"], tensors["inverse"],
        (channels, height, width), float(metadata["epsilon"]),
    )  # fmt: skip


def _unit(images: Tensor) -> Tensor:
    """Return images as float64 in [0, 1]."""
    values = images.to(torch.float64)
    return values / 255 if images.dtype == torch.uint8 else values
