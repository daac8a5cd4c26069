"""metaseg: ablation studies of segmentation networks that use metadata.

Importing this package is cheap: torch and ray are imported by the modules that need them.
"""

__version__ = "0.1.0"
