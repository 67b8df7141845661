"""Samples: people and access events that look real, to try the product on.

A count and a seed come in, files go out; the same seed gives the same bytes.
"""
