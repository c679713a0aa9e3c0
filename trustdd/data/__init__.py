"""Which images: InD and OOD sets, outliers, what is done to them, and the distilled set."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
