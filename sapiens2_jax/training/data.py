"""What the loader needs of a config."""

from ml_collections import ConfigDict

from data_pipelines.crops import CropConfig
from data_pipelines.loader import LoaderConfig


def crop_config(config: ConfigDict) -> CropConfig:
  """The views of one image."""
  data = config.data
  return CropConfig(
    global_size=tuple(data.image_size),
    local_size=tuple(data.local_size),
    num_global=data.num_global,
    num_local=data.num_local,
    global_area=tuple(data.global_area),
    local_area=tuple(data.local_area),
  )


def loader_config(config: ConfigDict) -> LoaderConfig:
  """The whole loader."""
  data = config.data
  return LoaderConfig(
    crops=crop_config(config),
    global_batch_size=data.global_batch_size,
    accumulation_steps=data.accumulation_steps,
    seed=config.seed,
    num_workers=data.num_workers,
    prefetch=data.prefetch,
    max_pixels=data.max_pixels,
  )
