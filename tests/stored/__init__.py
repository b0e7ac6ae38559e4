"""Groups that are kept."""
