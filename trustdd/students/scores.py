"""Detection scores: logits → one confidence an image. Larger means more in-distribution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trustdd.settings.errors import BadInput


def msp(logits: Tensor) -> Tensor:
    """Maximum softmax probability.

    Args:
        logits: ``[n, k]``.

    Returns:
        ``[n]`` in [1/k, 1]; larger means more in-distribution. Very sure images tie at 1, in
        float32 from a lead of about 17 over the next logit.

    Source: Hendrycks and Gimpel 2017.
    """
    return _checked(logits).softmax(1).amax(1)


def max_logit(logits: Tensor) -> Tensor:
    """Maximum logit.

    Args:
        logits: ``[n, k]``.

    Returns:
        ``[n]``, any real number; larger means more in-distribution.

    Source: Hendrycks et al. 2022 (MaxLogit).
    """
    return _checked(logits).amax(1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Negative free energy, ``T · logsumexp(logits / T)``.

    Args:
        logits: ``[n, k]``.
        temperature: T > 0; towards 0 it becomes `max_logit`.

    Returns:
        ``[n]``, any real number; larger means more in-distribution (the energy itself has the
        other sign).

    Raises:
        ValueError: a temperature that is not positive.

    Source: Liu et al. 2020.
    """
    if not temperature > 0:
        raise BadInput(f"temperature {temperature!r}; expected a number > 0")
    return temperature * (_checked(logits) / temperature).logsumexp(1)


#: name in a report → score
SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "msp": msp,
    "maxlogit": max_logit,
    "energy": energy,
}


def _checked(logits: Tensor) -> Tensor:
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise BadInput(f"logits of shape {tuple(logits.shape)}; expected [n, k] with k ≥ 1")
    if not bool(torch.isfinite(logits).all()):
        raise BadInput("logits hold NaN or infinite values; expected finite numbers")
    return logits
