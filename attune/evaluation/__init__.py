"""Metrics, evaluation of a run, comparison and the report."""
