"""The preview draws what the objective computes, not something like it."""

import os
import sys

import jax
import numpy as np
import pytest

from data_pipelines.loading import crops
from data_pipelines.loading.loader import make_loader
from sapiens2_jax import config as config_lib
from sapiens2_jax.models.pixels import denormalize, unpatchify
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.pretrain.crops import crop_config
from sapiens2_jax.pretrain.objective import build_pretrain
from sapiens2_jax.pretrain.photometric import Photometric
from sapiens2_jax.preview import data as preview_data
from sapiens2_jax.preview import page as preview_page
from sapiens2_jax.report import pictures
from sapiens2_jax.training import data, optimizer
from sapiens2_jax.training import state as state_lib
from tests import forking, tiny
from tests.report.pages import check_page

STEP, COUNT = 3, 3
PATCH = 16


@pytest.fixture
def overrides(photo_folder):
  # Microbatches of 8, of which 3 are shown: the loader makes 4.
  return [
    *tiny.SIZE,
    "model.size=tiny",
    "seed=5",
    f"data.path={photo_folder}",
    "data.accumulation_steps=2",
  ]


@pytest.fixture
def config(overrides):
  return config_lib.load_config(
    "experiments/pretrain.py:size=toy", overrides, lambda config: []
  )


def run_preview(overrides, output, *options):
  """The command, as a user gives it."""
  return forking.run(
    [
      *(sys.executable, "-m", "sapiens2_jax.preview"),
      *(
        "--config",
        "experiments/pretrain.py:size=toy",
        "--output",
        str(output),
      ),
      *options,
      *(f"--config.{override}" for override in overrides),
    ],
    os.environ,
  )


def run_state_key(config, objective):
  """The key in the state that a run starts with."""
  tx = optimizer.make_optimizer(config.optim)
  mesh = mesh_lib.make_mesh(config.mesh)
  abstract = state_lib.abstract_state(config, objective, tx, mesh)
  state = state_lib.init_state(config.seed, objective, tx, abstract)
  return jax.random.wrap_key_data(jax.device_get(state.rng))


def pixels(patches, size):
  """Patches as the objective makes them, as pixels in [0, 1]."""
  grid = size[0] // PATCH, size[1] // PATCH
  images = unpatchify(patches, grid, PATCH)
  return np.clip(denormalize(images), 0, 1)


def test_page_shows_what_the_objective_computes(config):
  drawn = preview_data.read_examples(config, STEP, COUNT)
  objective = build_pretrain(config)
  source = data.open_source(objective)
  loader = make_loader(
    source, data.loader_config(objective), start_step=STEP, num_steps=1
  )
  (batch, _), settings = next(loader), crop_config(config)
  batch = {name: leaf[0] for name, leaf in batch.items()}
  rng = run_state_key(config, objective)

  @jax.jit
  def see(batch, rng):
    views = objective.make_views(batch, rng)
    return views.local_patches, views.patches, views.masked_ids

  local, whole, masked = see(batch, rng)
  local = pixels(local, config.data.local_size)
  whole = pixels(whole, config.data.image_size)
  assert len(drawn) == COUNT
  for i, example in enumerate(drawn):
    # Compiled for another number of examples: rounded elsewhere.
    np.testing.assert_allclose(example.local_views, local[i], atol=2e-6)
    np.testing.assert_allclose(example.global_views, whole[i], atol=1e-6)
    np.testing.assert_array_equal(example.local_crops, batch["local_crops"][i])
    for hidden, ids in zip(example.hidden, masked[i]):
      np.testing.assert_array_equal(np.flatnonzero(hidden), ids)
    place = example.index, example.epoch
    assert place == (batch["index"][i], batch["epoch"][i])
    record = source[example.index]
    assert (example.name, example.size) == (
      record.name,
      (record.height, record.width),
    )
    for crop, box in zip(example.local_crops, example.boxes[1]):
      cut = crops.cut(example.original, box, example.size, settings.local_size)
      # The page decodes the image at a size of its own.
      assert np.abs(cut.astype(int) - crop).mean() < 8

  check_page(preview_page.make_page(drawn, STEP, 5))
  whole, local = preview_page.make_section(drawn[0]).figures
  (original,), *_ = whole.picture.groups
  assert original.image.height <= preview_page.ORIGINAL_SIZE[0]
  crop, student = local.picture.groups[2]
  for tile, values in (
    (crop, drawn[0].local_crops[2]),
    (student, drawn[0].local_views[2]),
  ):
    expected = pictures.to_image(values, 256)
    np.testing.assert_array_equal(np.asarray(tile.image), np.asarray(expected))
  assert crop.frame == student.frame != whole.picture.groups[1][0].frame


@pytest.mark.slow
def test_the_command_writes_a_page(photo_folder, tmp_path):
  # Another process does not know the size "tiny".
  output = tmp_path / "page.html"
  given = [f"data.path={photo_folder}", "data.stages=64x48,48x16,0.5"]
  done = run_preview(given, output, "--examples=2")
  assert done.returncode == 0, done.stderr
  found = check_page(output.read_text())
  assert found.tags.count("section") == 2 and found.tags.count("img") > 20
  assert not list(tmp_path.glob("*.partial"))


def test_hidden_patches_are_gray():
  view = np.ones((4, 6, 3))
  hidden = np.array([[True, False, False], [False, False, True]])
  masked = preview_page.hide(view, hidden)
  np.testing.assert_allclose(masked[:2, :2], 128 / 255)
  np.testing.assert_allclose(masked[2:, 4:], 128 / 255)
  assert np.sum(masked == 1) == 4 * 4 * 3


def test_text_says_only_what_was_applied():
  drawn = Photometric(1.123, 0.8, 1.1, 0.05, True, False, 1.5, True, False)
  assert preview_page.describe_photometric(drawn) == (
    "colour, blur 1.50 px, not solarized",
    "brightness ×1.12, contrast ×0.80",
    "saturation ×1.10, hue +18°",
  )
  plain = drawn._replace(is_jittered=False, is_blurred=False, is_gray=True)
  assert preview_page.describe_photometric(plain) == (
    "gray, no blur, not solarized",
    "no colour jitter",
  )
  box = np.array([1.4, 2.6, 30.0, 20.0])
  assert preview_page.describe_box(box, True) == (
    "top 1, left 3, 30 × 20 px",
    "flipped",
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("output", "override", "message"),
  [
    ("missing/page.html", "seed=5", "no such directory: "),
    ("page.png", "seed=5", "name it .html"),
    ("", "seed=5", "is a directory"),
    ("page.html", "data.locl_size=(48, 16)", "did you mean data.local_size"),
  ],
)
def test_mistakes_are_one_line(
  photo_folder, tmp_path, output, override, message
):
  overrides = [f"data.path={photo_folder}", override]
  done = run_preview(overrides, tmp_path / output)
  assert done.returncode == 2
  assert message in done.stderr and "Traceback" not in done.stderr


def test_no_more_examples_than_a_microbatch(config):
  with pytest.raises(ValueError, match="examples=9 .* the 8 of a microbatch"):
    preview_data.read_examples(config, STEP, 9)
