"""Where a response has its answer."""

from __future__ import annotations

from lightning_gft.errors import GFTValueError

_PLACE = "{answer}"
GYM_TEMPLATE = f"<answer>{_PLACE}</answer>"
"""How reasoning-gym's own system prompts ask for the answer."""


class AnswerTemplate:
    r"""The text around an answer, by which demonstrations are written and responses are read.

    The last answer in a response is read.

    Args:
        template: The answer takes the place of ``{answer}``. Without any text before it the whole response is the
            answer, without any after it all that follows.
        field: What errors call it.

    Raises:
        ValueError: If it has no place for the answer, more than one, or a text after it alone.

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
        """Return a response with an answer."""
        return self.template.replace(_PLACE, answer)

    def read(self, response: str) -> str | None:
        """Return the answer of a response without white space around it; ``None`` where there is none."""
        if self.before.endswith("{") and self.after.startswith("}"):
            return self._read_braces(response)
        end = response.rfind(self.after)  # what comes after it is no whole answer
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
