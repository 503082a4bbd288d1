"""One step of the smallest 4K model."""

import pytest

from tests.benchmarks.running import run


@pytest.mark.slow
def test_a_step_is_taken_and_its_memory_known():
  found = run(
    *("benchmarks/high_resolution_step.py", "--size", "toy_4k"),
    *(
      "--config.data.image_size=(256, 192)",
      "--config.data.local_size=(192, 64)",
    ),
    "--config.model.decoder_layers=1",
  )
  assert found["image_size"] == [256, 192]
  assert 0 < found["peak_rss_gib"] < 3
