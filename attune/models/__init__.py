"""Loading, saving, attention over a layout, log-probabilities."""
