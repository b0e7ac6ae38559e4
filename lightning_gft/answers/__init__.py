"""Answers: found in a text, read, and compared with what is expected. Nothing here needs torch."""
