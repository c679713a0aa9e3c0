"""Trustworthy dataset distillation: distil a tiny training set and a tiny set of outliers.

A network trained on the two classifies *and* rejects out-of-distribution inputs. The package's
rooms, their best known modules and the public names, all listed in ``__init__.pyi``, are imported
when first used, so that ``import trustdd`` stays quick.
"""

import lazy_loader as lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
