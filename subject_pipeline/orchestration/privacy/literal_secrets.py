"""Secrets where Dagster keeps and shows them: run config and YAML may name a variable, never its value."""

from collections.abc import Iterator, Mapping

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.project.templates import is_secret


def refuse_literal_secrets(options: Mapping[str, str], run_config: object) -> None:
    """Refuse a run whose config holds the value of a secret option, rather than the name of a variable.

    What a run was launched with is stored and shown on its page; `{"env": NAME}` is shown as it is.

    Args:
        options: a resource's options, as they were resolved.
        run_config: what the run was launched with, not resolved.

    Raises:
        ConfigurationError: one does; the message has only the option's name.
    """
    literals = set(_texts(run_config))
    found = sorted(name for name, value in options.items() if is_secret(name, value) and value in literals)
    if found:
        raise ConfigurationError(
            f"the run's config holds the secret option {', '.join(found)} in plain text, and Dagster has stored it "
            f"with the run. Delete the run and replace the secret; then give {{env: NAME}} instead of the value in run "
            'config, dg.EnvVar("NAME") in Python, or "{{ env.NAME }}" in a component\'s YAML'
        )


def _texts(config: object) -> Iterator[str]:
    """Every text in a config except the names of variables."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping):
        if set(config) != {"env"}:
            for value in config.values():
                yield from _texts(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _texts(value)
