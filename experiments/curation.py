r"""From a pool of images to a corpus: scorers, limits, duplicates, balance.

Run:    sapiens2 corpus curate --config curation \
          --input photographs/ --input 'tars/*.tar' --output curated/
        The corpus is curated/corpus.
Smoke:  --config curation:size=toy (no models, any images)
Needs:  the extra curation; sapiens2 corpus models, once

The paper (section 3) names its stages and gives few of its thresholds. All
values here and in sapiens2_jax/validation/curation.py are ours, but the 384
pixels of a person.
"""

import ml_collections

from sapiens2_jax import errors, validation
from sapiens2_jax.config import parse_argument

_SIZES = ("full", "toy")


def get_config(argument: str = "size=full") -> ml_collections.ConfigDict:
  given = parse_argument(argument, size="full")
  errors.lookup(dict.fromkeys(_SIZES), given["size"], "size")
  config = validation.default_config("curation")
  if given["size"] == "toy":
    config.scorers.first = ("quality", "hashes")
    config.scorers.later = ()
    config.quality.min_short_side = 16.0
    config.quality.min_sharpness = 0.0
    config.work.files_per_shard = 8
  return config
