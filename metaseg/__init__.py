"""metaseg: ablation studies of segmentation networks that use metadata.

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that `import metaseg` takes
milliseconds: torch, pandas and ray are imported by the modules that need them.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
