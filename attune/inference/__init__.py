"""Sampling, decoding and chat."""
