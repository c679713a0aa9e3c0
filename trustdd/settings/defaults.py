"""What is published per dataset: sizes, statistics, and the settings of the experiments.

Sources: the settings that the authors' code runs with (Ma et al., *Towards
Trustworthy Dataset Distillation*; Zhao et al., DC, DSA and DM; Cazenavette et al.,
MTT). `digits` is this companion's own embedded dataset.
"""

from __future__ import annotations

from dataclasses import dataclass

DSA_STRATEGY = "color_crop_cutout_flip_scale_rotate"
#: digits must not be mirrored: DSA leaves flipping out on MNIST and SVHN
DSA_STRATEGY_DIGITS = "color_crop_cutout_scale_rotate"

CIFAR_SUITE = ("textures", "svhn", "lsun_r", "isun", "places365")


@dataclass(frozen=True)
class Method:
    """A way to distil, and what it is published with.

    Attributes:
        objective: file and class in ``trustdd.distillation`` that do an iteration.
        matched: what of synthetic and real images is brought together, in the singular.
        iterations: outer iterations.
        lr_images: learning rate of the synthetic images; ``None`` where it depends on the dataset
            and the IPC, see `TRAJECTORY_SETTINGS`.
        augmented: whether images are augmented while they are distilled.
    """

    objective: str
    matched: str
    iterations: int
    lr_images: float | None
    augmented: bool = True

    @property
    def module(self) -> str:
        """The module that does what other methods do not need."""
        return f"trustdd.distillation.{self.objective.split(':')[0]}"


METHODS: dict[str, Method] = {
    "dc": Method("gradient_matching:GradientMatching", "gradient", 1000, 0.1, augmented=False),
    "dsa": Method("gradient_matching:GradientMatching", "gradient", 1000, 0.1),
    "dm": Method("distribution_matching:DistributionMatching", "mean embedding", 20_000, 1.0),
    "mtt": Method("trajectory_matching:TrajectoryMatching", "trajectory", 5000, None),
}


@dataclass(frozen=True)
class DatasetDefaults:
    """Facts about one InD dataset.

    Attributes:
        name: the dataset's name, as in ``Experiment(dataset=...)``.
        classes: number of classes; 0 where it is read from the data.
        channels: 1 or 3.
        image_size: height = width in pixels.
        mean: per-channel mean of the training images in [0, 1]; empty where measured.
        std: per-channel standard deviation, likewise.
        augmentation: the Siamese augmentation strategy of DSA for this dataset.
        ood: names of the OOD suite.
        outlier_pool: name of the pool of real outliers (OE).
        width: channels of a ConvNet block.
        real_batch: real images a class a step in gradient matching.
    """

    name: str
    classes: int
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: str
    ood: tuple[str, ...]
    outlier_pool: str
    width: int = 128
    real_batch: int = 256


DATASETS: dict[str, DatasetDefaults] = {
    d.name: d
    for d in (
        DatasetDefaults(
            "digits", 10, 1, 16, (0.3088,), (0.3487,), DSA_STRATEGY_DIGITS,
            ("textures", "photos", "gaussian", "uniform", "printed_text", "transposed_digits"),
            "photo_pool", width=32, real_batch=64,
        ),
        DatasetDefaults(
            "cifar10", 10, 3, 32, (0.4914, 0.4823, 0.4467), (0.2471, 0.2435, 0.2616),
            DSA_STRATEGY, (*CIFAR_SUITE, "cifar100"), "tiny300k",
        ),
        DatasetDefaults(
            "cifar100", 100, 3, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762),
            DSA_STRATEGY, (*CIFAR_SUITE, "cifar10"), "tiny300k",
        ),
        DatasetDefaults(
            "svhn", 10, 3, 32, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970),
            DSA_STRATEGY_DIGITS, ("textures", "lsun_r", "isun", "places365", "cifar10"),
            "tiny300k",
        ),
        DatasetDefaults(
            "mnist", 10, 1, 28, (0.1307,), (0.3081,), DSA_STRATEGY_DIGITS,
            ("textures", "photos", "gaussian", "uniform", "printed_text"), "photo_pool",
        ),
        DatasetDefaults(
            "fashionmnist", 10, 1, 28, (0.2861,), (0.3530,), DSA_STRATEGY,
            ("textures", "photos", "gaussian", "uniform", "printed_text"), "photo_pool",
        ),
        DatasetDefaults(
            "imagenette", 10, 3, 128, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
            DSA_STRATEGY, ("textures", "photos", "gaussian", "uniform"), "photo_pool",
        ),
    )
}  # fmt: skip

#: mean and std that MTT's published code normalises by where it does not whiten: the same for both
#: CIFARs, and their std is not the pixels' own. It sets the scale of ``lr_images``.
TRAJECTORY_STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    name: ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)) for name in ("cifar10", "cifar100")
}

#: an image folder of the user's own: three channels, 32 px, statistics of its training split
FOLDER_DEFAULTS = DatasetDefaults(
    "", 0, 3, 32, (), (), DSA_STRATEGY, ("photos", "gaussian", "uniform"), "photo_pool"
)

#: IPC → (outer loops, inner loops) of gradient matching, as published
MATCHING_LOOPS: dict[int, tuple[int, int]] = {
    1: (1, 1), 5: (10, 50), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10),
}  # fmt: skip

#: (dataset, IPC) → settings of trajectory matching, as published
TRAJECTORY_SETTINGS: dict[tuple[str, int], dict[str, float | int | bool]] = {
    (name, ipc): dict(
        zip(
            ("student_steps", "expert_epochs", "max_start_epoch", "lr_images", "lr_student_lr",
             "student_lr", "zca", "synthetic_batch"),
            values, strict=True,
        )
    )
    for name, ipc, values in (
        ("cifar10", 1, (50, 2, 2, 100.0, 1e-7, 0.01, True, 0)),
        ("cifar10", 10, (30, 2, 20, 100.0, 1e-5, 0.001, True, 0)),
        ("cifar10", 50, (30, 2, 40, 1000.0, 1e-5, 0.001, False, 0)),
        ("cifar100", 1, (20, 3, 20, 1000.0, 1e-5, 0.01, True, 0)),
        ("cifar100", 10, (20, 2, 20, 1000.0, 1e-5, 0.01, False, 0)),
        ("cifar100", 50, (80, 2, 40, 1000.0, 1e-5, 0.01, True, 125)),
        ("imagenette", 1, (20, 2, 10, 1000.0, 1e-6, 0.01, False, 0)),
    )
}  # fmt: skip


def dataset_defaults(name: str) -> DatasetDefaults:
    """Return the facts of a named dataset, or those of an image folder for any other name."""
    return DATASETS.get(name, FOLDER_DEFAULTS)


def matching_loops(ipc: int) -> tuple[int, int]:
    """Outer and inner loops of gradient matching for any IPC ≥ 1.

    Published values where there are any; between two of them, linear
    interpolation; IPC 2–4 as 5 (the published 1/1 of IPC 1 has no inner loop at
    all); above 50 as 50.
    """
    if ipc in MATCHING_LOOPS:
        return MATCHING_LOOPS[ipc]
    known = sorted(k for k in MATCHING_LOOPS if k > 1)
    if ipc < known[0]:
        return MATCHING_LOOPS[known[0]]
    if ipc > known[-1]:
        return MATCHING_LOOPS[known[-1]]
    low = max(k for k in known if k < ipc)
    high = min(k for k in known if k > ipc)
    share = (ipc - low) / (high - low)
    return tuple(  # type: ignore[return-value]
        round(a + share * (b - a))
        for a, b in zip(MATCHING_LOOPS[low], MATCHING_LOOPS[high], strict=True)
    )


def training_epochs(dataset: str, method: str) -> int:
    """Epochs of a student as published: 300 for DC, but on MNIST, and 1000 for the others."""
    return 300 if method == "dc" and dataset != "mnist" else 1000


def trajectory_settings(dataset: str, ipc: int) -> dict[str, float | int | bool]:
    """Settings of trajectory matching: the published row nearest in IPC (by ratio).

    Datasets without a row of their own take CIFAR-10's, without ZCA whitening
    where the images have one channel.
    """
    name = dataset if any(d == dataset for d, _ in TRAJECTORY_SETTINGS) else "cifar10"
    rows = {i: row for (d, i), row in TRAJECTORY_SETTINGS.items() if d == name}
    nearest = min(rows, key=lambda i: (max(i, ipc) / min(i, ipc), i))
    row = dict(rows[nearest])
    if name != dataset and dataset_defaults(dataset).channels == 1:
        row["zca"] = False
    return row
