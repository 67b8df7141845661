"""Verification: is everything still as it was recorded?

A store and its keys come in, and nothing in them is trusted. Out go verdicts on chains, logs and manifests, each
with a name and a place, and checkpoints of what was found sound.
"""
