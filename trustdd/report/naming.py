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
METRICS = {
    "auroc": "AUROC", "aupr_in": "AUPR-In", "aupr_out": "AUPR-Out", "fpr95": "FPR95",
    "fpr95_in": "FPR95 (InD positive)", "accuracy": "accuracy",
}  # fmt: skip
SCORES = {
    "msp": "MSP", "maxlogit": "MaxLogit", "energy": "Energy", "odin": "ODIN", "knn": "KNN",
    "vim": "ViM", "react": "ReAct", "ash": "ASH",
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


def listed(parts: Sequence[str]) -> str:
    """Join words for a sentence: ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]
