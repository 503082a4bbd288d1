"""Which crops the loader cuts."""

from ml_collections import ConfigDict

from data_pipelines.loading.crops import CropConfig


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
    aspect_jitter=tuple(data.crop_aspect),
  )
