"""How modes, methods, metrics, OOD sets, scores and networks are written where they are read."""

from __future__ import annotations

from collections.abc import Sequence

from trustdd.settings.defaults import METHODS as KNOWN_METHODS
from trustdd.settings.experiment import Experiment

#: outlier modes; ``none`` is ordinary dataset distillation (DD)
MODES = {"none": "ordinary DD", "oe": "OE", "poe": "POE"}
#: the same where nothing need be distilled
OUTLIERS = {"none": "no outliers", "oe": "OE", "poe": "POE"}
METHODS = {method: method.upper() for method in KNOWN_METHODS}
#: measures; what depends on which class is positive says which
METRICS = {
    "auroc": "AUROC", "aupr_in": "AUPR-In (InD positive)", "aupr_out": "AUPR-Out (OOD positive)",
    "fpr95": "FPR95 (OOD positive)", "fpr95_in": "FPR95 (InD positive)", "accuracy": "accuracy",
}  # fmt: skip
#: detection scores, and the axis that those of logits are drawn on
SCORES = {
    "msp": "MSP", "maxlogit": "MaxLogit", "energy": "Energy", "odin": "ODIN", "knn": "KNN",
    "vim": "ViM", "react": "ReAct", "ash": "ASH",
}  # fmt: skip
SCORE_AXES = {
    "msp": "maximum softmax probability", "maxlogit": "largest logit",
    "energy": "energy (log-sum-exp of the logits)",
}  # fmt: skip
NETWORKS = {
    "convnet": "ConvNet", "mlp": "MLP", "lenet": "LeNet", "alexnet": "AlexNet",
    "vgg11": "VGG-11", "resnet18": "ResNet-18",
}  # fmt: skip
_OOD = {
    "gaussian": "Gaussian noise", "uniform": "uniform noise", "svhn": "SVHN",
    "lsun_r": "LSUN-R", "isun": "iSUN", "places365": "Places365", "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100", "mnist": "MNIST", "fashionmnist": "Fashion-MNIST",
    "tiny_near": "Tiny-ImageNet (68 classes)", "tiny_cifar": "Tiny-ImageNet (32 classes)",
}  # fmt: skip


def ood_name(name: str) -> str:
    """An OOD set's name as read: ``transposed_digits`` → ``transposed digits``."""
    return _OOD.get(name, name.removeprefix("folder:").replace("_", " "))


def setting_name(experiment: Experiment) -> str:
    """A setting in a few words: ``digits, DSA, IPC 2``."""
    return setting(experiment.dataset, experiment.method, experiment.ipc)


def setting(dataset: str, method: str, ipc: int) -> str:
    """A dataset, a method and an IPC in a few words: ``digits, DSA, IPC 2``."""
    return f"{dataset}, {METHODS.get(method, method)}, IPC {ipc}"


def opened(text: str) -> str:
    """A sentence's beginning: its first letter large."""
    return text[:1].upper() + text[1:]


def counted(count: int, word: str) -> str:
    """A number of things: ``1 epoch``, ``2 epochs``."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def listed(parts: Sequence[str]) -> str:
    """Join words for a sentence: ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]
