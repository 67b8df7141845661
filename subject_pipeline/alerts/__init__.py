"""Alerts: one message for one run that failed or whose checks are red.

What happened comes in, a JSON message goes to a webhook, and the state of its delivery is kept. No message holds a
person's id.
"""
