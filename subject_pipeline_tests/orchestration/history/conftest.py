from subject_pipeline_tests.helpers.dagster_state import (  # noqa: F401 - autouse
    no_instance_of_an_earlier_test,
    what_stays_the_same_is_read_once,
)
