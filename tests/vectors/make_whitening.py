"""Makes ``whitening.safetensors``: what kornia's ZCA whitening does to a few images.

    python -m pip install kornia==0.9.0
    python tests/vectors/make_whitening.py

Kornia is what trajectory matching is published with; the project does without it. The images are
made here, fewer than they have values, so that some directions have no variance and the ridge alone
counts there. Double precision, stored in single.
"""

from __future__ import annotations

from pathlib import Path

import kornia
import torch
from kornia.enhance import ZCAWhitening
from safetensors.torch import save_file

SHAPE = (40, 3, 5, 5)
#: of the published experiments, and a small one
RIDGES = (0.1, 1e-3)


def images() -> torch.Tensor:
    """Smooth colour images, ``uint8 [n, c, h, w]``."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(SHAPE[0], 3, 3, 3, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, SHAPE[2:], mode="bilinear", align_corners=True)
    noise = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    return (255 * (0.9 * smooth + 0.1 * noise)).to(torch.uint8)


def main() -> None:
    """Whiten the first half and the second half of the images by what the first half fits."""
    stored = images()
    tensors = {"images": stored}
    floats = stored.double() / 255
    fitted, others = floats[: len(floats) // 2], floats[len(floats) // 2 :]
    for ridge in RIDGES:
        zca = ZCAWhitening(eps=ridge, compute_inv=True).fit(fitted)
        whitened = zca(others)
        tensors |= {
            f"{ridge:g}.mean": zca.mean_vector.flatten().float(),
            f"{ridge:g}.matrix": zca.transform_matrix.float().contiguous(),
            f"{ridge:g}.inverse": zca.transform_inv.float().contiguous(),
            f"{ridge:g}.whitened": whitened.float().contiguous(),
            f"{ridge:g}.pictures": zca.inverse_transform(whitened).float().contiguous(),
        }
    path = Path(__file__).with_name("whitening.safetensors")
    save_file(tensors, path, {"kornia": kornia.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    main()
