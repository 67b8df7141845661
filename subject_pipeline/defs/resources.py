"""Which store the assets work on: `$SUBJECT_STORE_URL` and `$SUBJECT_CHUNKS`, as for the command line."""

import os

import dagster as dg

from subject_pipeline.components.resources import LayoutResource, StoreResource
from subject_pipeline.storage.settings import Settings


@dg.definitions
def resources() -> dg.Definitions:
    """The store and its layout."""
    layout = LayoutResource.from_environment()
    store = StoreResource(url=Settings.read(os.environ).store_url, layout=layout)
    return dg.Definitions(resources={"store": store, "layout": layout})
