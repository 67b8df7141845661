"""Formats of stored and shown values: canonical JSON, strict JSON, times, text that is safe to show.

Values come in, bytes or text go out, and the same value always gives the same bytes. Everything here is pure.
"""
