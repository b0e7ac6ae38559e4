"""Text of a run, made safe to stand in a page."""

from __future__ import annotations

import html


def escape(text: object) -> str:
    """Return a text that HTML shows as it is.

    Example:
        >>> escape('<b title="x">')
        '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(str(text), quote=True)
