"""Networks, and their gradients: PyTorch's, compiled ones, and those replayed on a GPU.

All are `Network`: ``forward`` gives logits, ``embed`` the penultimate features, and
``classifier`` is the last linear layer.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
