"""Finds the answer in a response by a template."""

from __future__ import annotations

from lightning_gft.errors import GFTValueError

_PLACE = "{answer}"
GYM_TEMPLATE = f"<answer>{_PLACE}</answer>"
"""The form of an answer that reasoning-gym's own system prompts ask for."""


class AnswerTemplate:
    r"""The text around an answer, used to write demonstrations and to read responses.

    The last answer in a response counts.

    Args:
        template: Text with ``{answer}`` in the place of the answer. Without a text before it, the whole response is
            the answer; without one after it, the answer extends to the end.
        field: Name of the setting in errors.

    Raises:
        ValueError: If the template has no place for the answer or several, or a text only after it.

    Example:
        >>> AnswerTemplate("<answer>{answer}</answer>").read("<answer>5</answer> No: <answer> 6 </answer>.")
        '6'
        >>> AnswerTemplate("\\boxed{{answer}}").read(r"So \boxed{\frac{1}{2}} it is.")
        '\\frac{1}{2}'
        >>> AnswerTemplate("{answer}").write("7")
        '7'
    """

    def __init__(self, template: str, field: str = "answer_template") -> None:
        before, _, after = template.partition(_PLACE)
        if template.count(_PLACE) != 1 or (after.strip() and not before.strip()):
            raise GFTValueError(
                f"`{field}`: expected a text with {_PLACE} in it, and before it what an answer begins with, got "
                f"{template!r}; write one such as {GYM_TEMPLATE!r}, or {_PLACE!r} for the whole response"
            )
        self.template = template
        self.before, self.after = before.strip(), after.strip()

    def write(self, answer: str) -> str:
        """Return the text of a response with the given answer."""
        return self.template.replace(_PLACE, answer)

    def read(self, response: str) -> str | None:
        """Return the answer of a response without surrounding white space, or ``None`` if it has none."""
        if self.before.endswith("{") and self.after.startswith("}"):
            return self._read_braces(response)
        end = response.rfind(self.after)  # an answer that begins later has no end
        start = response.rfind(self.before, 0, end) if self.before else 0
        if min(start, end) < 0:
            return None
        start += len(self.before)
        return response[start : response.find(self.after, start) if self.after else None].strip()

    def _read_braces(self, response: str) -> str | None:
        start = response.rfind(self.before)
        if start < 0:
            return None
        start += len(self.before)
        depth, escaped = 1, False
        for place in range(start, len(response)):
            char = response[place]
            depth += 0 if escaped else (char == "{") - (char == "}")
            escaped = char == "\\" and not escaped
            if depth == 0:
                return response[start:place].strip() if response.startswith(self.after, place) else None
        return None
