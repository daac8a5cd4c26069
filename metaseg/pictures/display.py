"""Images as pictures show them: `metaseg.data.display`."""

from metaseg.data.display import to_display

__all__ = ["to_display"]
