"""`Experiment`: everything that decides what a run computes, frozen and validated.

Two experiments that compare equal make the same distilled set, byte for byte, on
the same machine.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from trustdd.settings.defaults import (
    DATASETS,
    dataset_defaults,
    matching_loops,
    training_epochs,
    trajectory_settings,
)
from trustdd.settings.errors import BadInput
from trustdd.settings.validation import check_choice, check_integer, check_names, check_number

METHODS = ("dc", "dsa", "mtt")
PRECISIONS = ("float32", "bf16")
OUTLIERS = ("none", "oe", "poe")
SELECTIONS = ("distilled", "random", "full")
METRICS = ("layerwise", "mse", "cosine")
#: detection scores that read logits alone, in every report
SCORE_NAMES = ("msp", "maxlogit", "energy")
CORRUPTION_NAMES = (
    "jigsaw", "invert", "mosaic", "speckle",
    "rgb_ghost", "uniform_speckle", "arithmetic_mean", "geometric_mean",
)  # fmt: skip
AUGMENTATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")

#: where the data lies and what computes: neither changes what an experiment *is*
PLACE_FIELDS = ("data_root", "device")
#: what a finished set is tested on, and with: changing it re-evaluates but distils nothing anew
EVALUATION_FIELDS = ("ood", "ood_limit", "networks")
#: other architectures than the ConvNet, see ``trustdd.networks``
NETWORK_NAMES = ("mlp", "lenet", "alexnet", "vgg11", "resnet18")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The settings of one run of the pipeline: distil, train a student, detect OOD inputs.

    Every field left unset (``None``, or ``"auto"`` for the augmentations) takes the
    dataset's published default at construction, so a finished `Experiment` shows
    every value that will be used. `but` changes fields and re-derives the unset ones;
    ``dataclasses.replace`` keeps every field, derived ones included, as it stands.

    Attributes:
        dataset: a named InD dataset (``digits``, ``cifar10``, …) or the name of an image
            folder ``data_root/NAME/<split>/<class>/<image>``.
        method: ``"dc"`` (gradient matching), ``"dsa"`` (with Siamese augmentation) or
            ``"mtt"`` (trajectory matching).
        outliers: ``"none"`` (ordinary distillation), ``"oe"`` (outliers from a real pool) or
            ``"poe"`` (pseudo-outliers: corrupted InD images).
        ipc: images per class of the synthetic set, ≥ 1.
        seed: seed of every random draw.
        data_root: folder that holds datasets on disk; not part of the identity.
        image_size: height and width in pixels.
        width: channels of a ConvNet block.
        depth: ConvNet blocks; each halves the image, and by default 4 px remain.
        selection: ``"distilled"``, ``"random"`` (real images drawn at random, the baseline of
            the same storage) or ``"full"`` (the whole training set, the ceiling).
        outlier_selection: ``"distilled"`` or ``"random"`` for the synthetic outliers.
        outlier_ipc: synthetic outliers per class slot.
        outlier_pool: name of the real pool for OE.
        corruptions: the corruptions POE draws from; slot c uses number c mod len.
        outlier_weight: λ of ``CE(InD) + λ · uniform-CE(outliers)``, ≥ 0.
        initial: synthetic images start as ``"real"`` ones or as ``"noise"``.
        iterations: outer iterations, each with a fresh network (or expert segment).
        outer_loops: matching steps an iteration.
        inner_loops: epochs of network training between two matching steps.
        real_batch: real images a class a matching step.
        metric: gradient distance, ``"layerwise"``, ``"mse"`` or ``"cosine"``.
        augmentation: names joined by ``_``, ``None`` for no augmentation, or ``"auto"``.
        lr_images: learning rate of the synthetic images (in normalised pixel units).
        momentum_images: momentum of the synthetic images and outliers.
        lr_outliers: learning rate of the synthetic outliers.
        lr_network: learning rate of the networks trained inside distillation (plain SGD).
        network_batch: batch size of those networks.
        training_epochs: epochs of a student; ×0.1 learning rate after half of them.
        training_lr: a student's learning rate.
        training_momentum: a student's momentum.
        training_weight_decay: a student's weight decay.
        training_batch: a student's batch size.
        ood: names of the OOD test sets.
        ood_limit: at most this many images of each (a seeded subset every student shares);
            0 takes all.
        networks: architectures that students are trained with where transfer is tested.
        experts: expert trajectories.
        max_start_epoch: trajectory segments start before this epoch.
        expert_epochs: expert epochs that one segment spans.
        expert_lr: learning rate of the experts.
        expert_batch: batch size of the experts.
        expert_augmentation: augmentation of expert training, ``None`` for none, or ``"auto"`` for
            the dataset's.
        student_steps: SGD steps of the student inside trajectory matching.
        student_lr: initial value of the learned student learning rate.
        lr_student_lr: learning rate of the student learning rate.
        synthetic_batch: synthetic images a student step; 0 takes all.
        zca: whiten the images with ZCA (trajectory matching).
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; not part of the identity.
        precision: ``"float32"`` or ``"bf16"`` (real images' gradients and all training with
            convolutions in bfloat16; synthetic images' gradients stay in float32).

    Raises:
        ValueError: a value is unknown, of the wrong type, or out of range; the message names
            what was given and what is allowed.
    """

    dataset: str = "digits"
    method: str = "dsa"
    outliers: str = "none"
    ipc: int = 1
    seed: int = 0
    data_root: str | None = None
    image_size: int | None = None
    width: int | None = None
    depth: int | None = None
    selection: str = "distilled"
    outlier_selection: str = "distilled"
    outlier_ipc: int | None = None
    outlier_pool: str | None = None
    corruptions: tuple[str, ...] | None = None
    outlier_weight: float = 0.5
    initial: str = "real"
    iterations: int | None = None
    outer_loops: int | None = None
    inner_loops: int | None = None
    real_batch: int | None = None
    metric: str = "layerwise"
    augmentation: str | None = "auto"
    lr_images: float | None = None
    momentum_images: float = 0.5
    lr_outliers: float | None = None
    lr_network: float = 0.01
    network_batch: int = 256
    training_epochs: int | None = None
    training_lr: float = 0.01
    training_momentum: float = 0.9
    training_weight_decay: float = 5e-4
    training_batch: int = 256
    ood: tuple[str, ...] | None = None
    ood_limit: int = 0
    networks: tuple[str, ...] | None = None
    experts: int = 100
    max_start_epoch: int | None = None
    expert_epochs: int | None = None
    expert_lr: float = 0.01
    expert_batch: int = 256
    expert_augmentation: str | None = "auto"
    student_steps: int | None = None
    student_lr: float | None = None
    lr_student_lr: float | None = None
    synthetic_batch: int | None = None
    zca: bool | None = None
    device: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        # `given` remembers what the caller set, so that `but` can derive the rest anew
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        unset = {f.name: f.default for f in fields(self)}
        object.__setattr__(
            self, "_given", {k: v for k, v in given.items() if v != unset[k] or v is not unset[k]}
        )
        self._check_names()
        for name, value in self._derived().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.augmentation == "auto":
            facts = dataset_defaults(self.dataset)
            chosen = None if self.method == "dc" else facts.augmentation
            object.__setattr__(self, "augmentation", chosen)
        if self.method != "mtt":
            self._canonical(expert_augmentation=None)
        elif self.expert_augmentation == "auto":
            chosen = dataset_defaults(self.dataset).augmentation
            object.__setattr__(self, "expert_augmentation", chosen)
        for name in ("corruptions", "ood", "networks"):
            object.__setattr__(self, name, check_names(name, getattr(self, name)))
        if self.outliers == "none":
            self._canonical(outlier_ipc=0, outlier_pool="", corruptions=(), outlier_weight=0.0,
                            outlier_selection="distilled", lr_outliers=0.0)  # fmt: skip
        elif self.outliers == "oe":
            self._canonical(corruptions=())
        else:
            self._canonical(outlier_pool="")
        self._check_values()

    # -- identity ---------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """A readable, unique name: ``digits-dsa-poe-ipc2-seed0-1a2b3c4d``.

        The hash covers every field but where the data lies, the device, and what the finished
        student is tested on.
        """
        left_out = (*PLACE_FIELDS, *EVALUATION_FIELDS)
        identity = {k: v for k, v in self.to_dict().items() if k not in left_out}
        text = json.dumps(identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        how = self.method if self.selection == "distilled" else self.selection
        size = "" if self.selection == "full" else f"ipc{self.ipc}-"
        return f"{self.dataset}-{how}-{self.outliers}-{size}seed{self.seed}-{digest}"

    def to_dict(self, *, place: bool = False) -> dict[str, Any]:
        """Return the fields as JSON types; `place` adds `data_root` and `device`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if not place:
            values = {k: v for k, v in values.items() if k not in PLACE_FIELDS}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """Make an experiment from a mapping of field names to JSON values.

        Raises:
            ValueError: a name is no field; the message offers the nearest ones.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=3)
                hint = f"; nearest: {', '.join(near)}" if near else ""
                raise BadInput(
                    f"setting '{name}' is unknown{hint}; expected one of {', '.join(known)}"
                )
        tupled: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**tupled)

    def but(self, **changes: Any) -> Experiment:
        """Return a copy with `changes`, deriving every field that was never set anew."""
        return Experiment.from_dict({**self._given, **changes})  # type: ignore[attr-defined]

    # -- derivation -------------------------------------------------------------------------

    def _derived(self) -> dict[str, Any]:
        facts = dataset_defaults(self.dataset)
        size = self.image_size or facts.image_size
        # 28 px images are padded to 32 by the first convolution
        padded = 32 if size == 28 else size
        outer, inner = matching_loops(self.ipc)
        trajectory = trajectory_settings(self.dataset, self.ipc)
        matching = self.method != "mtt"
        lr_images = 0.1 if matching else trajectory["lr_images"]
        return {
            "image_size": size,
            "width": facts.width,
            "depth": max(1, int(math.log2(max(padded, 8))) - 2),
            "outlier_ipc": self.ipc,
            "outlier_pool": facts.outlier_pool,
            "corruptions": CORRUPTION_NAMES[:4],
            "iterations": 1000 if matching else 5000,
            "outer_loops": outer,
            "inner_loops": inner,
            "real_batch": facts.real_batch,
            "training_epochs": training_epochs(self.dataset, self.method),
            "lr_images": lr_images,
            "lr_outliers": self.lr_images if self.lr_images is not None else lr_images,
            "ood": facts.ood,
            "networks": NETWORK_NAMES,
            **{k: trajectory[k] for k in trajectory if k != "lr_images"},
        }

    def _canonical(self, **values: Any) -> None:
        """Give fields that play no part here one fixed value, so that equal runs share a key."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    # -- validation -------------------------------------------------------------------------

    def _check_names(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("outliers", self.outliers, OUTLIERS)
        check_choice("selection", self.selection, SELECTIONS)
        check_choice("outlier_selection", self.outlier_selection, SELECTIONS[:2])
        check_choice("metric", self.metric, METRICS)
        check_choice("initial", self.initial, ("real", "noise"))
        check_choice("precision", self.precision, PRECISIONS)
        if not isinstance(self.dataset, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", self.dataset):
            raise BadInput(
                f"dataset {self.dataset!r}; expected one of {', '.join(DATASETS)}, "
                "or the name of an image folder under data_root"
            )
        if self.dataset not in DATASETS and not self.data_root:
            raise BadInput(
                f"dataset '{self.dataset}'; expected one of {', '.join(DATASETS)}, or, with "
                f"data_root, an image folder data_root/{self.dataset}/<split>/<class>/<image>"
            )
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(self.device)):
            raise BadInput(f"device {self.device!r}; expected auto, cpu, cuda or cuda:N")
        check_integer("ipc", self.ipc, 1)
        if self.image_size is not None:
            check_integer("image_size", self.image_size, 8)

    def _check_values(self) -> None:
        for name, low in (
            ("seed", None), ("image_size", 8), ("width", 1), ("depth", 1), ("outlier_ipc", 0),
            ("iterations", 0), ("outer_loops", 1), ("inner_loops", 0), ("real_batch", 1),
            ("network_batch", 1), ("training_epochs", 1), ("training_batch", 1), ("ood_limit", 0),
            ("experts", 1), ("max_start_epoch", 1), ("expert_epochs", 1), ("expert_batch", 1),
            ("student_steps", 1), ("synthetic_batch", 0),
        ):  # fmt: skip
            check_integer(name, getattr(self, name), low)
        for name in ("lr_images", "lr_network", "training_lr", "expert_lr", "student_lr"):
            self._canonical(**{name: check_number(name, getattr(self, name), positive=True)})
        for name in ("outlier_weight", "lr_outliers", "training_weight_decay", "lr_student_lr"):
            self._canonical(**{name: check_number(name, getattr(self, name))})
        for name in ("momentum_images", "training_momentum"):
            self._canonical(**{name: check_number(name, getattr(self, name), below=1.0)})
        if not isinstance(self.zca, bool):
            raise BadInput(f"zca {self.zca!r}; expected true or false")
        if self.outliers != "none" and self.outlier_ipc == 0:
            raise BadInput("outlier_ipc 0; expected an integer ≥ 1 where outliers is oe or poe")
        for name in ("augmentation", "expert_augmentation"):
            strategy = getattr(self, name)
            for part in strategy.split("_") if strategy is not None else ():
                check_choice(f"{name} part", part, AUGMENTATIONS)
        for corruption in self.corruptions or ():
            check_choice("corruption", corruption, CORRUPTION_NAMES)
        if self.outliers == "poe" and not self.corruptions:
            raise BadInput(
                f"corruptions is empty; expected at least one of {', '.join(CORRUPTION_NAMES)}"
            )
        for network in self.networks or ():
            check_choice("network", network, NETWORK_NAMES)
        if not self.ood:
            raise BadInput("ood is empty; expected the name of at least one OOD set")
        size, depth = int(self.image_size or 0), int(self.depth or 0)
        largest = int(math.log2(32 if size == 28 else size))
        if depth > largest:
            raise BadInput(f"depth {depth}; expected 1 to {largest} for {size} px images")
