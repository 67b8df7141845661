"""Two components for any Dagster project: `SubjectPlatform`, one a code location, and `SubjectDataset`, one a dataset.

Their attributes are the public interface; `dg list components` and editors show each with its description.
"""

from subject_pipeline.components.subject_dataset import SubjectDataset
from subject_pipeline.components.subject_platform import SubjectPlatform

__all__ = ["SubjectDataset", "SubjectPlatform"]
