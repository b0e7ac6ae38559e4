"""Tasks of reasoning-gym: generated prompts, and the reward that scores answers to them.

It imports nothing, so that worker processes start in a moment.
"""
