"""Tasks of reasoning-gym: generated prompts, and the reward that scores their responses.

This package imports nothing, so that worker processes start quickly.
"""
