"""Fields of a curation. All values but the 384 pixels of a person are ours;
docs/curation_models.md says what a few of them do to labelled photographs.

A group with the name of a scorer holds `min_COLUMN` and `max_COLUMN`, the
limits of its columns, and the options that it is made with. What a scorer does
not know of an image is kept.
"""

from data_pipelines.curation.scorers import SCORERS
from sapiens2_jax.fields import (
  COUNT,
  FRACTION,
  NAMES,
  SIZE,
  Field,
  all_of,
  are_whole,
  at_least,
  group,
  must,
  one_of,
)

_SCORERS = all_of(NAMES, one_of(SCORERS))
_AMOUNT = at_least(0)
_LEVEL = at_least(0, 255)
_DEGREES = at_least(-180, 180)
_FALLING = must(
  "whole numbers above 0, each smaller than the one before",
  lambda values: (
    values
    and are_whole(2**31 - 1)(values)
    and all(a > b for a, b in zip(values, values[1:]))
  ),
)
_MEAN = must("3 numbers, of red, green and blue", lambda x: len(x) == 3)
_STD = all_of(_MEAN, must("above 0", lambda values: min(values) > 1e-6))

CURATION = {
  "version": Field(
    1, "Of these fields.", must("1", lambda version: version == 1), "ours"
  ),
  **group(
    *("scorers", "ours"),
    first=Field(
      ("quality", "hashes", "person"),
      "Those that see every image, decoded once.",
      _SCORERS,
    ),
    later=Field(
      ("face", "mask", "render", "safety", "text"),
      "Those that see what the limits have kept.",
      _SCORERS,
    ),
    models=Field("", "Folder of their models; empty: the user's cache."),
  ),
  **group(
    *("quality", "ours"),
    min_short_side=Field(384.0, "Pixels.", _AMOUNT),
    max_aspect=Field(4.0, "Long side by short side.", at_least(1)),
    min_sharpness=Field(
      5.0, "Variance of the Laplacian, levels squared.", _AMOUNT
    ),
    min_brightness=Field(10.0, "Mean level of 255.", _LEVEL),
    max_brightness=Field(245.0, "Mean level of 255.", _LEVEL),
    min_contrast=Field(8.0, "Standard deviation of levels.", _LEVEL),
    max_blocks=Field(
      3.0, "Steps at borders of JPEG blocks, by others.", _AMOUNT
    ),
  ),
  **group(
    *("person", "ours"),
    min_score=Field(0.5, "That there is anybody.", FRACTION),
    min_short_side=Field(
      *(384.0, "Of the largest person in pixels; 0: nobody."),
      *(_AMOUNT, "paper"),
    ),
  ),
  **group(
    *("face", "ours"),
    min_yaw=Field(
      -180.0, "Degrees, of the largest face if one is seen.", _DEGREES
    ),
    max_yaw=Field(
      180.0, "Degrees; less than 90 to have nobody turned away.", _DEGREES
    ),
  ),
  **group(
    *("mask", "ours"),
    min_share=Field(0.1, "Of the largest person's box, masked.", FRACTION),
    max_hidden=Field(0.9, "Of the box, by other people's boxes.", FRACTION),
  ),
  **group(
    *("render", "ours"),
    min_photo_probability=Field(0.5, "Below it: drawn, rendered.", FRACTION),
  ),
  **group(
    *("safety", "ours"),
    max_nsfw=Field(0.5, "Score of open_nsfw.", FRACTION),
  ),
  **group(
    *("text", "ours"),
    max_share=Field(0.05, "Of the image, text outside of people.", FRACTION),
  ),
  **group(
    *("embedding", "ours"),
    model=Field(
      "", "ONNX file, or weights of ours; empty: nothing is embedded."
    ),
    image_size=Field(
      (256, 192), "Height and width, images are squeezed.", SIZE
    ),
    mean=Field(
      (0.485, 0.456, 0.406), "Of RGB; what an ONNX file expects.", _MEAN
    ),
    std=Field(
      (0.229, 0.224, 0.225), "Of RGB; what an ONNX file expects.", _STD
    ),
    output=Field("", "Of an ONNX file, by name; empty: its first."),
  ),
  **group(
    *("duplicates", "ours"),
    max_distance=Field(
      31, "Bits of PDQ, of 256; -1 keeps near-duplicates.", at_least(-1, 256)
    ),
    min_pdq_quality=Field(50, "PDQ below it is not compared.", at_least(0)),
    min_similarity=Field(
      0.0,
      "Cosine of embeddings from which on two are one; 0: not compared.",
      FRACTION,
    ),
    best=Field(
      ("num_pixels", "quality_sharpness", "num_bytes"),
      "Columns; the largest first decides which duplicate is kept.",
      NAMES,
    ),
  ),
  **group(
    *("takedown", "ours"),
    path=Field("", "File of SHA-256 of images to remove, one a line."),
    near=Field(True, "Remove near-duplicates of these, too."),
  ),
  **group(
    *("sampling", "ours"),
    target=Field(0, "Images at most; 0: as the caps say, or all.", at_least(0)),
    clusters=Field((1000, 30), "k-means of each level, falling.", _FALLING),
    cap=Field(0, "Images of one cluster at most; 0: no cap.", at_least(0)),
    seed=Field(0, "Of k-means and of the draw.", at_least(0)),
  ),
  **group(
    *("work", "ours"),
    files_per_shard=Field(1000, "Files of a folder in one unit.", COUNT),
    batch_size=Field(
      16, "Images that a scorer gets together.", at_least(1, 4096)
    ),
    seconds=Field(
      120.0, "After which an image counts as hanging.", at_least(1, 10**8)
    ),
  ),
  **group("corpus", "ours", shard_size=Field(1000, "Records.", COUNT)),
}
