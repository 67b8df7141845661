"""Verification: is everything still as it was recorded, and who says so.

A store and its keys come in, and nothing they hold is believed. Out go verdicts on chains, logs and manifests, each
with a name and a place, and checkpoints of what was found whole.
"""
