"""Orchestration: what the components and definitions are built of, so that Dagster runs the stages.

The stages' functions come in; assets' metadata, checks, resources and sensors go out. Nothing here decides about
people.
"""
