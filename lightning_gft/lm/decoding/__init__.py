"""Decoding: the next token of many responses, with the keys and values of their prompts."""
