"""Parameterised notebooks: found, read, checked against what is asked of them, and executed.

The sources are MyST Markdown (``notebooks/NN_name.md``) with one cell tagged ``parameters``.
Nothing is started before every parameter is known to be right.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
