"""Thousands of made-up configs: mistakes are listed, or all makes sense."""

import pytest

from sapiens2_jax import config as config_lib
from tests.validation import made_configs

COUNT = 2000


@pytest.mark.slow
def test_made_up_configs_are_listed_or_make_sense():
  accepted, listed = 0, 0
  for seed in range(COUNT):
    try:
      config = made_configs.load(seed)
    except config_lib.ConfigError as error:
      assert all(wrong for _, wrong in error.problems), seed
      listed += 1
      continue
    except Exception as error:
      error.add_note(f"seed {seed}: {str(made_configs.make(seed))[:500]}")
      raise
    assert not list(made_configs.nonsense(config, seed)), seed
    accepted += 1
  assert min(accepted, listed) > COUNT // 20
