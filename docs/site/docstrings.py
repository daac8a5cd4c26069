"""Docstrings as mkdocstrings expects them: an extension of Griffe, which reads the sources."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Show an `Example:` as code: Griffe knows its plural alone, and would take the singular's lines for text."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Name the section as Griffe does."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
