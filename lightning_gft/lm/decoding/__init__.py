"""Decoding: sampling many responses token by token, with a cache of their prompts' keys and values."""
