"""Forms of values that stand in the store and on screens: canonical JSON, times, text as it may be shown.

Values come in, bytes or text go out, and the same value always gives the same bytes. Everything here is pure.
"""
