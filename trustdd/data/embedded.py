"""Data that the installed libraries ship: digits, texture and photo crops, and made noise.

Nothing here touches the network or a `data_root`. Every draw is seeded once for all
experiments, so that each student sees the same images.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from trustdd.data.imagesets import SHARED_SEED, to_channels
from trustdd.settings.randomness import stream
from trustdd.settings.errors import BadInput

#: images in each embedded OOD set but the transposed digits
SET_SIZE = 1000
#: crops in the embedded outlier pool
POOL_SIZE = 4000
#: crops flatter than this (standard deviation of the grey values, 0–255) are drawn again
FLAT = 8.0
#: crops of the pages: at least this contrast, and sides (in their pixels) of one or two letters
PRINTED = 30.0
LETTERS = {"page.png": (14, 24), "text.png": (30, 56)}

#: (package, path) of the pictures behind each set; the pool shares none with the others
PICTURES: dict[str, tuple[tuple[str, str], ...]] = {
    "texture_crops": (
        ("skimage", "data/brick.png"),
        ("skimage", "data/grass.png"),
        ("skimage", "data/gravel.png"),
    ),
    "photos": (
        ("sklearn", "datasets/images/china.jpg"),
        ("sklearn", "datasets/images/flower.jpg"),
    ),
    "printed_text": (("skimage", "data/page.png"), ("skimage", "data/text.png")),
    # writing is too near to digits for the pool; logo.png and the like are drawn
    "photo_pool": tuple(
        ("skimage", f"data/{file}")
        for file in (
            "astronaut.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png",
            "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg",
            "rocket.jpg",
        )
    ),
}  # fmt: skip
#: pictures that show a class of an InD dataset, and so are no outliers to it
SHOWN: dict[str, tuple[str, ...]] = {
    "cifar10": ("chelsea.png",),  # a cat
    # man, woman, cup, motorcycle, rocket
    "cifar100": ("astronaut.png", "camera.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
}

EMBEDDED = (
    "texture_crops", "photos", "photo_pool", "gaussian", "uniform", "printed_text",
    "transposed_digits",
)  # fmt: skip


def shipped_file(package: str, path: str) -> Path:
    """Return where an installed package keeps one of its data files, without importing it.

    Raises:
        ValueError: the installed version ships no such file.
    """
    spec = importlib.util.find_spec(package)
    found = Path(spec.origin).parent / path if spec and spec.origin else Path(path)
    if not found.is_file():
        raise BadInput(f"{found}: not shipped with the installed version of {package}")
    return found


def digits(image_size: int = 16) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the UCI handwritten digits that scikit-learn ships, upsampled, and split.

    The 8×8 images (values 0–16) are brought to 0–255, upsampled bicubically, and clipped.
    Of every class, in the order of the file, each third image is a test image, so the split
    is stratified and the same for everybody.

    Args:
        image_size: height and width in pixels.

    Returns:
        (images ``uint8 [1201, 1, s, s]``, labels ``int64 [1201]``) of the training split,
        and the same of the test split (596 images).
    """
    return _digits(image_size)


@functools.cache
@torch.inference_mode(False)
def _digits(image_size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    # read as it lies: importing scikit-learn for it would cost every process a second
    rows = np.loadtxt(shipped_file("sklearn", "datasets/data/digits.csv.gz"), delimiter=",")
    labels = torch.from_numpy(rows[:, -1].astype(np.int64))
    small = torch.from_numpy(rows[:, :-1] / 16.0).view(-1, 1, 8, 8)
    large = F.interpolate(small, (image_size, image_size), mode="bicubic", antialias=True)
    images = large.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
    place = torch.zeros_like(labels)
    for label in range(10):
        of_class = labels == label
        place[of_class] = torch.arange(int(of_class.sum()))
    test = place % 3 == 2
    return (images[~test], labels[~test]), (images[test], labels[test])


def embedded_images(
    name: str, image_size: int, channels: int, inlier_name: str = "digits"
) -> Tensor:
    """Make an embedded set of OOD images, or the embedded outlier pool.

    - ``texture_crops``: 1,000 crops of the brick, grass and gravel that scikit-image ships;
    - ``photos``: 1,000 crops of scikit-learn's two photographs;
    - ``photo_pool``: 4,000 crops of scikit-image's other photographs, less those that show a
      class of the InD dataset;
    - ``printed_text``: 1,000 crops of scikit-image's two scanned pages, one or two letters
      each, as light strokes on black (each crop inverted, its contrast stretched);
    - ``gaussian``: 1,000 images of independent N(0.5, 1) values clipped to [0, 1], the noise
      of ODIN (Liang et al., 2018); ``uniform``: of independent U(0, 1) values;
    - ``transposed_digits``: the test digits 1–9 mirrored in their diagonal. A transposed 0 is
      still a 0, so zeros are left out.

    Crops are squares between `image_size` and half the picture's short side, their sizes
    log-uniform, resized bilinearly with antialiasing.

    Args:
        name: one of `EMBEDDED`.
        image_size: height and width in pixels.
        channels: 1 or 3.
        inlier_name: the InD dataset; decides only which pictures the pool leaves out.

    Returns:
        ``uint8 [n, channels, image_size, image_size]``; the same at every call.

    Raises:
        ValueError: the name is not one of `EMBEDDED`.
    """
    if name not in EMBEDDED:
        raise BadInput(f"embedded set '{name}'; expected one of {', '.join(EMBEDDED)}")
    left_out = SHOWN.get(inlier_name, ()) if name == "photo_pool" else ()
    return _embedded(name, image_size, channels, left_out)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _embedded(name: str, image_size: int, channels: int, left_out: tuple[str, ...]) -> Tensor:
    if name in PICTURES:
        count = POOL_SIZE if name == "photo_pool" else SET_SIZE
        files = [f for f in PICTURES[name] if Path(f[1]).name not in left_out]
        return _crops(name, [shipped_file(*f) for f in files], count, image_size, channels)
    if name == "transposed_digits":
        images, labels = digits(image_size)[1]
        return to_channels(images[labels != 0].transpose(-1, -2).contiguous(), channels)
    generator = stream(SHARED_SEED, "noise", name)
    shape = (SET_SIZE, channels, image_size, image_size)
    if name == "gaussian":
        values = torch.randn(shape, generator=generator).add_(0.5).clamp_(0, 1)
    else:
        values = torch.rand(shape, generator=generator)
    return values.mul_(255).round_().to(torch.uint8)


def _crops(name: str, paths: list[Path], count: int, image_size: int, channels: int) -> Tensor:
    """Cut seeded square crops, taking the pictures in turn."""
    mode = "L" if channels == 1 else "RGB"
    pictures = []
    for path in paths:
        with Image.open(path) as file:
            pictures.append(file.convert(mode))
    generator = stream(SHARED_SEED, "crops", name)
    printed = name == "printed_text"
    images = np.empty((count, image_size, image_size, channels), dtype=np.uint8)
    for i in range(count):
        picture = pictures[i % len(pictures)]
        # a night sky has flat corners, a page its margins: draw again, but not for ever
        for _ in range(50):
            crop = _crop(picture, image_size, generator, LETTERS.get(paths[i % len(paths)].name))
            if np.asarray(crop.convert("L")).std() >= (PRINTED if printed else FLAT):
                break
        grey = np.asarray(crop).reshape(image_size, image_size, channels)
        images[i] = _strokes(grey) if printed else grey
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def _strokes(crop: np.ndarray) -> np.ndarray:
    """Turn dark print on pale paper into light strokes on black, 0–255."""
    dark, pale = float(crop.min()), float(crop.max())
    return np.round((pale - crop) * (255 / (pale - dark))).astype(np.uint8)


def _crop(
    picture: Image.Image,
    image_size: int,
    generator: torch.Generator,
    letters: tuple[int, int] | None = None,
) -> Image.Image:
    width, height = picture.size
    short = min(width, height)
    low, high = letters or (min(image_size, short), max(min(image_size, short), short // 2))
    where = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    side = round(math.exp(math.log(low) + where[0] * math.log(high / low)))
    left, top = (int(share * (length - side + 1))
                 for share, length in ((where[1], width), (where[2], height)))  # fmt: skip
    box = (left, top, left + side, top + side)
    return picture.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box)
