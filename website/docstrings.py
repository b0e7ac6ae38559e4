"""An extension of griffe: docstrings for the site."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object

from website.markup import for_griffe


class Readable(Extension):
    """Shows Sphinx roles, which only Sphinx resolves, as plain code, and an example as a session of Python."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of each object once it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = for_griffe(obj.docstring.value)
