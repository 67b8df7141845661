"""Decisions: orders about one subject, given by somebody for a reason, and what each does to a manifest.

A line of a decision file, or a command, comes in; out goes the manifest after it, or in words why it is refused.
Nothing here reads or writes anything: what is recorded, and where, is the concern of `lifecycle`.
"""
