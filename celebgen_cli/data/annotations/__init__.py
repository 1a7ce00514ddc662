"""CelebA's five annotation files, in both dialects that are found in the wild, read strictly and checked together."""

from celebgen_cli.data.annotations.checks import Tables, cross_check, read_all
from celebgen_cli.data.annotations.files import (
    NAMES,
    PARTITIONS,
    AnnotationFiles,
    find_annotations,
    image_number,
)
from celebgen_cli.data.annotations.portraits import NamedLandmarks, image_stem, read_named_landmarks
from celebgen_cli.data.annotations.tables import (
    BOX,
    POINTS,
    Attributes,
    Boxes,
    Landmarks,
    Numbers,
    look_up,
    read_attributes,
    read_boxes,
    read_identity,
    read_landmarks,
    read_partition,
)

__all__ = [
    "BOX",
    "NAMES",
    "PARTITIONS",
    "POINTS",
    "AnnotationFiles",
    "Attributes",
    "Boxes",
    "Landmarks",
    "NamedLandmarks",
    "Numbers",
    "Tables",
    "cross_check",
    "find_annotations",
    "image_number",
    "image_stem",
    "look_up",
    "read_all",
    "read_attributes",
    "read_boxes",
    "read_identity",
    "read_landmarks",
    "read_named_landmarks",
    "read_partition",
]
