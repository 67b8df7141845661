"""What a Dagster project's YAML declares, without Dagster: the command line reads the same files.

A project's folder and its YAML come in; the settings of its platform and the attributes of its datasets go out.
"""
