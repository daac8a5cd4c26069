"""From the store's finished runs to tables, tests and figures. Reads Parquet; needs neither torch nor Ray.

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that `import analysis` takes
milliseconds.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
