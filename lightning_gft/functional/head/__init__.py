"""The output projection, log-probabilities and their gradient in one pass over chunks of tokens."""
