"""Extracts answers from texts, parses them and compares them with the expected ones. This package needs no torch."""
