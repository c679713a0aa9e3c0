"""Downloads of named datasets, on request, with torchvision's and pytorch-ood's own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trustdd.data.named import NAMED
from trustdd.settings.errors import BadInput


def download(name: str, data_root: str | Path) -> Path:
    """Download a named dataset with torchvision or pytorch-ood, unless it is there already.

    Args:
        name: one of `NAMED` whose `loader` is set.
        data_root: the folder to put it in; made if need be.

    Returns:
        The folder under which it now lies.

    Raises:
        ValueError: the name is unknown, nobody's code downloads it, or the download failed.
    """
    able = [d.name for d in NAMED.values() if d.loader]
    facts = NAMED.get(name)
    if facts is None:
        raise BadInput(f"download '{name}'; expected one of {', '.join(able)}")
    if not facts.loader:
        raise BadInput(f"'{name}' must be fetched {facts.how_to_get(data_root)}")
    root = Path(data_root)
    root.mkdir(parents=True, exist_ok=True)
    try:
        _DOWNLOADS[name](root)
    except Exception as error:  # network, disk and archive faults come as many kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInput(
            f"'{name}' could not be downloaded ({reason[-1]}); get it by hand from {facts.origin}"
        ) from error
    return root


def _torchvision(loader: str, **options: Any) -> Callable[[Path], None]:
    """Download with a torchvision dataset class, once for each value of ``parts``."""

    def fetch(root: Path) -> None:
        import torchvision.datasets as classes

        place = root / options["place"] if "place" in options else root
        place.mkdir(parents=True, exist_ok=True)
        fixed = {k: v for k, v in options.items() if k not in ("place", "parts")}
        for part in options.get("parts", ({},)):
            getattr(classes, loader)(str(place), download=True, **fixed, **part)

    return fetch


def _pytorch_ood(loader: str) -> Callable[[Path], None]:
    def fetch(root: Path) -> None:
        import pytorch_ood.dataset.img as classes

        getattr(classes, loader)(str(root), download=True)

    return fetch


_DOWNLOADS: dict[str, Callable[[Path], None]] = {
    "cifar10": _torchvision("CIFAR10"),
    "cifar100": _torchvision("CIFAR100"),
    "svhn": _torchvision("SVHN", place="svhn", parts=({"split": "train"}, {"split": "test"})),
    "mnist": _torchvision("MNIST"),
    "fashionmnist": _torchvision("FashionMNIST"),
    "imagenette": _torchvision("Imagenette", size="160px"),
    "textures": _torchvision("DTD"),
    "places365": _torchvision("Places365", place="places365", split="val", small=True),
    "lsun_r": _pytorch_ood("LSUNResize"),
    "lsun_c": _pytorch_ood("LSUNCrop"),
    "tiny300k": _pytorch_ood("TinyImages300k"),
}
