"""Appending what was read: a batch of events comes in, out go counts by chunk, and the events that conflict.

In this process, or by several, each with chunks of its own.
"""
