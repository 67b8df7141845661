"""What the assets work on: `$SUBJECT_STORE_URL`, `$SUBJECT_CHUNKS` and `$SUBJECT_KEY_RING`, as for the command line."""

import os

import dagster as dg

from subject_pipeline.orchestration.resources import KeyRingResource, LayoutResource, StoreResource
from subject_pipeline.settings import Settings


def resources() -> dg.Definitions:
    """The store, its layout and its key ring."""
    layout = LayoutResource.from_environment()
    store = StoreResource(url=Settings.read(os.environ).store_url, layout=layout)
    key_ring = KeyRingResource.from_environment()
    return dg.Definitions(resources={"store": store, "layout": layout, "key_ring": key_ring})
