"""`Experiment`: everything that decides what a run computes, frozen and validated.

What is *asked* is what the caller sets; what is *resolved* is an `Experiment`, in which every
setting has its value and type. `trustdd.settings.setting` says how one is declared.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from trustdd.settings.defaults import (
    DATASETS,
    METHODS,
    dataset_defaults,
    matching_loops,
    training_epochs,
    trajectory_settings,
)
from trustdd.settings.errors import BadInput
from trustdd.settings.given import given_hash, given_settings
from trustdd.settings.places import own_folders
from trustdd.settings.setting import Rule, Setting, choice, flag, names, number, setting, whole
from trustdd.settings.validation import (
    check_choice,
    check_field,
    check_file,
    check_path,
    check_text,
)

PRECISIONS = ("float32", "bf16")
#: outlier modes → modules that no other mode needs
OUTLIERS: dict[str, tuple[str, ...]] = {
    "none": (), "oe": (), "poe": ("trustdd.data.corruptions",),
}  # fmt: skip
SELECTIONS = ("distilled", "random", "full", "given", "kmeans", "herding")
OUTLIER_SELECTIONS = ("distilled", "random", "given")
METRICS = ("layerwise", "mse", "cosine")
#: detection scores that read logits alone, in every report
SCORE_NAMES = ("msp", "maxlogit", "energy")
CORRUPTION_NAMES = (
    "jigsaw", "invert", "mosaic", "speckle",
    "rgb_ghost", "uniform_speckle", "arithmetic_mean", "geometric_mean",
)  # fmt: skip
AUGMENTATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")

#: other architectures than the ConvNet, see ``trustdd.networks``
NETWORK_NAMES = ("mlp", "lenet", "alexnet", "vgg11", "resnet18")


def _facts(name: str) -> Rule:
    return lambda e: getattr(dataset_defaults(e.dataset), name)


def _trajectory(name: str) -> Rule:
    return lambda e: trajectory_settings(e.dataset, e.ipc)[name]


def _lr_images(experiment: Experiment) -> float:
    published = METHODS[experiment.method].lr_images
    return _trajectory("lr_images")(experiment) if published is None else published


def _blocks(experiment: Experiment) -> int:
    return max(1, int(math.log2(max(_padded(experiment.image_size), 8))) - 2)


def _padded(size: int) -> int:
    """28 px images are padded to 32 by the first convolution."""
    return 32 if size == 28 else size


def _check_strategy(name: str, value: Any) -> str | None:
    if value is None:
        return None
    for part in check_text(name, value, expected="names joined by _, or nothing").split("_"):
        check_choice(f"{name} part", part, AUGMENTATIONS)
    return str(value)


def _check_dataset(name: str, value: Any) -> str:
    expected = f"one of {', '.join(DATASETS)}, or the name of an image folder under data_root"
    return check_text(name, value, r"(?!\.+$)[A-Za-z0-9_.-]+", expected)


def _check_hash(name: str, value: Any) -> str:
    return check_text(name, value, r"|[0-9a-f]{64}", "a SHA-256, 64 hexadecimal digits")


def _check_device(name: str, value: Any) -> str:
    return check_text(name, value, r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The settings of one run of the pipeline: distil, train a student, detect OOD inputs.

    Two experiments that compare equal make the same distilled set, byte for byte, on the same
    machine with the same number of threads and, where passes are compiled, the same compiler. All
    three are recorded with every result; commands and the workflow compute on one thread.

    Every field that is not asked for (left out, ``None`` where that is no value of its own, or
    ``"auto"`` for the augmentations) takes the dataset's published default at construction, so an
    `Experiment` holds every value that will be used. `asked` tells what the caller set; `but`
    changes fields and derives the others anew; ``dataclasses.replace`` keeps every field, derived
    ones included, as it stands.

    Attributes:
        dataset: a named InD dataset (``digits``, ``cifar10``, …) or the name of an image
            folder ``data_root/NAME/<split>/<class>/<image>``.
        method: ``"dc"`` (gradient matching), ``"dsa"`` (with Siamese augmentation), ``"dm"``
            (distribution matching, with it as well) or ``"mtt"`` (trajectory matching).
        outliers: ``"none"`` (ordinary distillation), ``"oe"`` (outliers from a real pool) or
            ``"poe"`` (pseudo-outliers: corrupted InD images).
        ipc: images per class of the synthetic set, ≥ 1.
        seed: seed of every random draw.
        data_root: folder that holds datasets on disk; not part of the identity.
        image_size: height and width in pixels.
        width: channels of a ConvNet block.
        depth: ConvNet blocks; each halves the image, and by default 4 px remain.
        selection: ``"distilled"``, ``"random"`` (real images drawn at random, the baseline of
            the same storage), ``"full"`` (the whole training set, the ceiling), ``"given"`` (a
            stored set, whose images never move), or a classic coreset: ``"kmeans"`` (centroids of
            each class) or ``"herding"`` (real images whose mean follows the class's).
        given: the file of the given set; not part of the identity, its content's hash is. Under it,
            what is not asked for of the dataset, `ipc`, sizes and the training of students is the
            set's own.
        given_sha256: hash of the given set's file; follows from `given`.
        outlier_selection: ``"distilled"`` or ``"random"`` for the synthetic outliers; of a given
            set also ``"given"``: its own, as they are.
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
        label_temperature: T > 0 of soft labels in a student's training: both the labels and the
            student's logits are softened by it.
        ood: names of the OOD test sets.
        ood_limit: at most this many images of each (a seeded subset every student shares);
            0 takes all.
        students: how many students the set is tested with; a report is the mean over them.
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

    dataset: str = setting("digits", _check_dataset)
    method: str = choice("dsa", tuple(METHODS))
    outliers: str = choice("none", tuple(OUTLIERS))
    ipc: int = whole(1, low=1)
    seed: int = whole(0)
    data_root: str | None = setting(None, check_path, part="place")
    image_size: int = whole(_facts("image_size"), low=8)
    width: int = whole(_facts("width"), low=1)
    depth: int = whole(_blocks, low=1)
    selection: str = choice("distilled", SELECTIONS)
    given: str | None = setting(None, check_file, part="place")
    given_sha256: str = setting("", _check_hash, later=True)
    outlier_selection: str = choice("distilled", OUTLIER_SELECTIONS)
    outlier_ipc: int = whole(lambda e: e.ipc, low=0)
    outlier_pool: str = setting(_facts("outlier_pool"), check_text)
    corruptions: tuple[str, ...] = names(
        lambda e: CORRUPTION_NAMES[:4], CORRUPTION_NAMES, "corruption"
    )
    outlier_weight: float = number(0.5)
    initial: str = choice("real", ("real", "noise"))
    iterations: int = whole(lambda e: METHODS[e.method].iterations, low=0)
    outer_loops: int = whole(lambda e: matching_loops(e.ipc)[0], low=1)
    inner_loops: int = whole(lambda e: matching_loops(e.ipc)[1], low=0)
    real_batch: int = whole(_facts("real_batch"), low=1)
    metric: str = choice("layerwise", METRICS)
    augmentation: str | None = setting(
        lambda e: _facts("augmentation")(e) if METHODS[e.method].augmented else None,
        _check_strategy,
        unset="auto",
    )
    lr_images: float = number(_lr_images, positive=True)
    momentum_images: float = number(0.5, below=1.0)
    lr_outliers: float = number(lambda e: e.lr_images)
    lr_network: float = number(0.01, positive=True)
    network_batch: int = whole(256, low=1)
    training_epochs: int = whole(lambda e: training_epochs(e.dataset, e.method), low=1)
    training_lr: float = number(0.01, positive=True)
    training_momentum: float = number(0.9, below=1.0)
    training_weight_decay: float = number(5e-4)
    training_batch: int = whole(256, low=1)
    label_temperature: float = number(1.0, positive=True, later=True)
    ood: tuple[str, ...] = names(_facts("ood"), part="evaluation")
    ood_limit: int = whole(0, low=0, part="evaluation")
    students: int = whole(1, low=1, part="evaluation")
    networks: tuple[str, ...] = names(
        lambda e: NETWORK_NAMES, NETWORK_NAMES, "network", part="evaluation"
    )
    experts: int = whole(100, low=1)
    max_start_epoch: int = whole(_trajectory("max_start_epoch"), low=1)
    expert_epochs: int = whole(_trajectory("expert_epochs"), low=1)
    expert_lr: float = number(0.01, positive=True)
    expert_batch: int = whole(256, low=1)
    expert_augmentation: str | None = setting(_facts("augmentation"), _check_strategy, unset="auto")
    student_steps: int = whole(_trajectory("student_steps"), low=1)
    student_lr: float = number(_trajectory("student_lr"), positive=True)
    lr_student_lr: float = number(_trajectory("lr_student_lr"))
    synthetic_batch: int = whole(_trajectory("synthetic_batch"), low=0)
    zca: bool = flag(_trajectory("zca"))
    device: str = setting("auto", _check_device, part="place")
    precision: str = choice("float32", PRECISIONS)

    def __post_init__(self) -> None:
        asked = {}
        given = self._given_settings()
        for name, declared in SETTINGS.items():
            value = getattr(self, name)
            initial = declared.unset if declared.derived else declared.default
            if type(value) is type(initial) and value == initial:
                value = given[name] if name in given else declared.default_of(self)
            else:
                asked[name] = value
            self._set(**{name: declared.check(name, value)})
        # no field: it takes no part in comparing, nor in what is written down
        self._set(_asked=asked)
        # what plays no part here has one fixed value, so that equal runs share a key
        if self.method != "mtt":
            self._set(expert_augmentation=None)
        if self.method == "dm":
            # one step a network, which is not trained
            self._set(outer_loops=1, inner_loops=0)
        if self.outliers == "none":
            self._set(outlier_ipc=0, outlier_pool="", corruptions=(), outlier_weight=0.0,
                      outlier_selection="distilled", lr_outliers=0.0)  # fmt: skip
        elif self.outliers == "oe":
            self._set(corruptions=())
        else:
            self._set(outlier_pool="")
        self._check_together()

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _given_settings(self) -> dict[str, Any]:
        """What follows from the given set, where there is one; its hash too."""
        if self.given is None:
            return {}
        path = str(check_file("given", self.given))
        if self.selection != "given":
            raise BadInput(f"given '{path}' under selection '{self.selection}'; expected 'given'")
        found = given_hash(path)
        if self.given_sha256 not in ("", found):
            raise BadInput(
                f"given '{path}' is not what it was: its SHA-256 is {found[:12]}…; expected "
                f"{self.given_sha256[:12]}…"
            )
        return {**given_settings(path), "given_sha256": found}

    def _check_together(self) -> None:
        """Refuse settings that are possible each by itself."""
        if (self.selection == "given") != bool(self.given_sha256):
            raise BadInput(
                "selection 'given' without a set; expected given, the path of a stored set"
                if self.selection == "given"
                else f"given_sha256 under selection '{self.selection}'; expected 'given'"
            )
        if self.outlier_selection == "given" and self.selection != "given":
            raise BadInput(
                f"outlier_selection 'given' under selection '{self.selection}'; expected 'given' "
                "for both"
            )
        if self.dataset not in DATASETS and not self.data_root:
            raise BadInput(
                f"dataset '{self.dataset}'; expected one of {', '.join(DATASETS)}, or, with "
                f"data_root, an image folder data_root/{self.dataset}/<split>/<class>/<image>"
            )
        if self.outliers != "none" and self.outlier_ipc == 0:
            raise BadInput("outlier_ipc 0; expected an integer ≥ 1 where outliers is oe or poe")
        if self.outliers == "poe" and not self.corruptions:
            raise BadInput(
                f"corruptions is empty; expected at least one of {', '.join(CORRUPTION_NAMES)}"
            )
        if not self.ood:
            raise BadInput("ood is empty; expected the name of at least one OOD set")
        largest = int(math.log2(_padded(self.image_size)))
        if self.depth > largest:
            raise BadInput(
                f"depth {self.depth}; expected 1 to {largest} for {self.image_size} px images"
            )

    @property
    def asked(self) -> dict[str, Any]:
        """What the caller set; every other field follows from it."""
        return dict(self.__dict__["_asked"])

    @property
    def expert_length(self) -> int:
        """Epochs of an expert that trajectory matching reads.

        The last segment starts one epoch before `max_start_epoch`, and spans `expert_epochs`.
        """
        return self.max_start_epoch - 1 + self.expert_epochs

    # -- identity ---------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """A readable, unique name: ``digits-dsa-poe-ipc2-seed0-1a2b3c4d``.

        The hash covers every field but where the data lies, the device, and what the finished
        student is tested on, and what a folder of one's own holds, see `identity`.
        """
        text = json.dumps(self.identity(IDENTITY_FIELDS), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        how = self.method if self.selection == "distilled" else self.selection
        size = "" if self.selection == "full" else f"ipc{self.ipc}-"
        return f"{self.dataset}-{how}-{self.outliers}-{size}seed{self.seed}-{digest}"

    def identity(self, chosen: Iterable[str]) -> dict[str, Any]:
        """Return fields as JSON types, for a hash of what depends on them.

        A field that was added after results had been published is left out while it has its
        default: the hashes of what was made before stay what they were. Where fields name image
        sets that are folders of one's own, ``folders`` maps these to what they hold
        (`trustdd.settings.places`): two of one name are two.

        Args:
            chosen: names of fields.
        """
        values = self.to_dict(place=True)
        found = {
            name: values[name]
            for name in chosen
            if not SETTINGS[name].later or getattr(self, name) != SETTINGS[name].default_of(self)
        }
        named = [found[name] for name in ("dataset", "outlier_pool") if found.get(name)]
        folders = own_folders([*named, *found.get("ood", ())], self.data_root)
        return {**found, "folders": folders} if folders else found

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
        if not isinstance(values, Mapping):
            raise BadInput(f"settings {values!r}; expected a mapping of names to values")
        for name in values:
            check_field(name, SETTINGS)
        tupled: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**tupled)

    def but(self, **changes: Any) -> Experiment:
        """Return a copy with `changes`, deriving every field that was never asked for anew."""
        return Experiment.from_dict({**self.asked, **changes})


def _of_part(part: str) -> tuple[str, ...]:
    return tuple(name for name, declared in SETTINGS.items() if declared.part == part)


#: name → how it is declared, in order
SETTINGS: dict[str, Setting] = {f.name: f.metadata["setting"] for f in fields(Experiment)}
#: what a run is; its key covers them
IDENTITY_FIELDS = _of_part("identity")
#: where the data lies and what computes: neither changes what an experiment *is*
PLACE_FIELDS = _of_part("place")
#: what a finished set is tested on, and with: changing it re-evaluates but distils nothing anew
EVALUATION_FIELDS = _of_part("evaluation")
