from hypothesis import given

from subject_pipeline.decisions import retention, transitions
from subject_pipeline.decisions.decision import SCOPES
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.lists.life_columns import HELD, ORDERED, RESTRICTED, due
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline_tests.helpers.lives import LIVES, NOW, rows_of


@given(LIVES)
def test_columns_say_of_a_row_what_decisions_say_of_its_document(manifest: SubjectManifest) -> None:
    """Held, ordered, restricted and due are the same by column as one by one."""
    document = manifest.as_json()
    found = rows_of([manifest]).select(
        held=HELD, ordered=ORDERED, restricted=RESTRICTED, **{scope: due(scope, NOW) for scope in SCOPES}
    )
    over = retention.due(document, format_time(NOW))
    assert found.row(0, named=True) == {
        "held": retention.is_held(document),
        "ordered": transitions.is_ordered(document),
        "restricted": transitions.is_restricted(document),
        **{scope: scope in over for scope in SCOPES},
    }
