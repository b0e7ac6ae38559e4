"""Rollouts by a vLLM server."""
