from subject_pipeline_tests.helpers.dagster_state import no_instance_of_an_earlier_test  # noqa: F401 - autouse
