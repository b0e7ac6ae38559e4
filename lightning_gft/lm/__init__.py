"""How a causal language model is run, and what it can do."""
