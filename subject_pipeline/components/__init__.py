"""Dagster components: what a YAML file can declare."""

from subject_pipeline.components.subject_dataset import SubjectDataset

__all__ = ["SubjectDataset"]
