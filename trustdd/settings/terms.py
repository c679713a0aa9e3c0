"""Under which terms named data sets are published, as far as their publishers say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """Where a data set's images come from, and what may be done with them.

    Attributes:
        source: who published them.
        text: the terms, in words.
    """

    source: str
    text: str


_TINY = (
    "no licence is stated; the images were collected from the web (80 Million Tiny Images, "
    "withdrawn by its makers in 2020), and their publishers ask for a citation"
)
TERMS = {
    "digits": Terms(
        "Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, as "
        "scikit-learn ships it",
        "CC BY 4.0",
    ),
    "cifar10": Terms("CIFAR-10, Krizhevsky 2009", _TINY),
    "cifar100": Terms("CIFAR-100, Krizhevsky 2009", _TINY),
    "svhn": Terms(
        "Street View House Numbers, Netzer et al. 2011",
        "for non-commercial use only, as its publishers state",
    ),
    "mnist": Terms("MNIST, LeCun et al. 1998", "CC BY-SA 3.0"),
    "fashionmnist": Terms("Fashion-MNIST, Zalando Research 2017", "MIT"),
    "imagenette": Terms(
        "Imagenette, fast.ai, a part of ImageNet",
        "packaged under Apache-2.0; its photographs are ImageNet's, for non-commercial research "
        "and education only",
    ),
    "tiny300k": Terms("300,000 images of 80 Million Tiny Images, cleaned by its users", _TINY),
    "photo_pool": Terms(
        "photographs and textures that scikit-learn and scikit-image ship", "those of each picture"
    ),
}


def terms_of(dataset: str) -> Terms:
    """Return the terms of a data set; those of an image folder are its owner's to know."""
    folder = Terms(
        f"a folder of images named '{dataset}'",
        "those of the images in the folder, which are not recorded here: ask who gave you the set",
    )
    return TERMS.get(dataset, folder)
