"""The one source of randomness: generators made from a seed and a named purpose.

Nothing in this package touches torch's or numpy's global generators. A draw's
generator is derived from what the draw is *for*, so that two draws never share
a stream by accident, adding one draw never shifts another, and a run resumed at
iteration 500 draws what it would have drawn had it never stopped.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Hash a seed and a purpose into a 63-bit integer.

    Args:
        seed: the experiment's seed, any integer.
        purpose: what the draw is for, e.g. ``("augmentation", 17, "class", 3)``.

    Returns:
        An integer in [0, 2**63). Different purposes give independent values.
    """
    text = "\x1f".join([str(int(seed)), *(f"{type(p).__name__}:{p}" for p in purpose)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def stream(seed: int, *purpose: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Make the generator of one purpose.

    Args:
        seed: the experiment's seed.
        purpose: what the draw is for; strings and integers.
        device: where the generator lives. Draws on different devices differ.

    Returns:
        A freshly seeded ``torch.Generator``.
    """
    generator = torch.Generator(device=device)
    generator.manual_seed(derive_seed(seed, *purpose))
    return generator
