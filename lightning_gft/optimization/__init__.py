"""Building optimizers, and measuring whether their updates move weights."""
