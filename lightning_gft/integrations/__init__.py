"""This package's objectives in the training loops of other libraries."""
