"""benchmarks/compare_checkouts.py: what is equal, and what is found."""

import shutil

import pytest

from tests.benchmarks.running import run
from tests.end_to_end.commands import ROOT

pytestmark = pytest.mark.slow
# The cheapest training that there is.
SMALL = (
  *("--only", "normal", "--steps", 4, "--rounds", 1),
  "--config.optim.name=adamw",
  "--config.data.image_size=(64, 48)",
  "--config.data.global_batch_size=2",
  "--config.head.upsample_channels=(4, 4, 4, 4)",
)
OTHER_SEED = """

get_first_config = get_config


def get_config(argument: str):
  config = get_first_config(argument)
  config.seed = 1
  return config
"""


def test_another_seed_is_found_and_the_rest_is_equal(tmp_path):
  changed = tmp_path / "changed"
  changed.mkdir()
  for name in ("data_pipelines", "sapiens2_jax"):
    (changed / name).symlink_to(ROOT / name)
  shutil.copytree(ROOT / "experiments", changed / "experiments")
  with open(changed / "experiments" / "finetune.py", "a") as file:
    file.write(OTHER_SEED)
  found = run(
    *("benchmarks/compare_checkouts.py", "--before", ROOT),
    *("--after", changed, "--output", tmp_path / "compared", *SMALL),
    code=1,
  )
  differing = found["differing"]
  assert differing["corpus"] == differing["labelled"] == 0
  assert differing["normal, metrics"] > 0
  assert differing["normal, state"] > 100
  for kind in ("transformers", "reference"):
    assert differing[f"export, {kind}"] == 2  # The weights, and the card.
  before, in_all = found["programs"]
  assert before == in_all > 0  # A seed is no part of a program.
  assert found["step_seconds"]["median"]["ratio"] > 0
