"""benchmarks/synthetic.py; skipped where bodies cannot be had."""

import pytest

from data_pipelines.synthetic import assets
from tests.benchmarks.running import run

pytestmark = pytest.mark.slow


def test_the_rasteriser_agrees_with_opencv():
  try:
    assets.find_assets()
  except ValueError as error:
    pytest.skip(str(error))
  found = run("benchmarks/synthetic.py", "--images", 1)
  assert found["images_per_second"] > 0
  assert found["raster"]["equal_pixels"] > 0.999
