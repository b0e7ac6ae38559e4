"""Chat templates: rendering under a time limit, how templates end a turn, and what they leave out."""

from lightning_gft.chat.ends import TurnEnd, find_turn_end, ids_of, special_tokens
from lightning_gft.chat.left_out import LeftOutCheck
from lightning_gft.chat.limit import OutOfTimeError, map_within
from lightning_gft.chat.rendered import RenderedCheck
from lightning_gft.chat.template import ChatTemplate, Conversation, Messages, RenderError, TextError, shared_prefix

__all__ = [
    "ChatTemplate",
    "Conversation",
    "LeftOutCheck",
    "Messages",
    "OutOfTimeError",
    "RenderError",
    "RenderedCheck",
    "TextError",
    "TurnEnd",
    "find_turn_end",
    "ids_of",
    "map_within",
    "shared_prefix",
    "special_tokens",
]
