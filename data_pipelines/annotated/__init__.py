"""Labelled images in the formats of other people.

COCO keypoints, lists and folders as the public Sapiens2 release reads them,
and matting lists: each a source of records with labels.
"""

from data_pipelines.annotated.opening import (
  FORMATS,
  announce,
  is_annotated,
  open_annotated,
  parse_spec,
)

__all__ = [
  "FORMATS",
  "announce",
  "is_annotated",
  "open_annotated",
  "parse_spec",
]
