"""The engine: trains studies and sweeps on whatever resources Ray has. The only package that imports ray.

Names are imported when they are first used: some of Ray's processes need neither torch nor what imports it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
