"""Which object store a location means."""

from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.objects.location import StoreLocation
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.objects.remote import RemoteObjects


def open_objects(location: StoreLocation) -> ObjectStore:
    """The object store at a location; nothing is created or contacted before the first call.

    Raises:
        ConfigurationError: the options do not fit the provider.
    """
    local = location.local_path
    return LocalObjects(local) if local is not None else RemoteObjects.at(location)
