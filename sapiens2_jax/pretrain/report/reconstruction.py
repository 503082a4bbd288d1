"""What the student makes of masked photographs."""

import itertools

import einops
import jax
import jax.numpy as jnp
import numpy as np

from sapiens2_jax.pretrain.crops import crop_config
from sapiens2_jax.pretrain.objective import PretrainObjective
from sapiens2_jax.pretrain.report import masked_patches, photographs
from sapiens2_jax.pretrain.report.photographs import Photograph
from sapiens2_jax.pretrain.terms.reconstruction import Reconstruction
from sapiens2_jax.report.page import Figure, Section, Table
from sapiens2_jax.report.pictures import HEIGHT, Sheet, Tile, to_image

NAME, TITLE = "reconstruction", "Reconstruction"

CAPTION = (
  "For each photograph: the centre crop at the size of training; the patches "
  "that the student's encoder sees, all others gray; each masked patch filled "
  "with its own mean (one number for all three channels, hence gray); the "
  "reconstruction. The student predicts normalised patches, so the mean and "
  "the standard deviation of each true patch are put back, and visible "
  "patches are pasted from the image: brightness and contrast of a patch are "
  "given, its content is predicted. The numbers are the loss on masked "
  "patches. Photographs of the run's own data were trained on."
)
ALT = "Rows of photographs: image, masked image, patch means, reconstruction"


def metric(objective: PretrainObjective) -> str:
  """The name of the loss of reconstruction, "" if it is not trained."""
  for name, term in objective.terms.items():
    if isinstance(term, Reconstruction):
      return f"loss_{name}"
  return ""


def find(
  objective: PretrainObjective,
  params: dict,
  rng: jax.Array,
  shown: list[Photograph],
  trained: list[Photograph],
  epoch: int,
) -> tuple[Section, list[tuple[np.ndarray, ...]]]:
  """Masks and reconstructs centre crops, and crops as training draws them.

  Args:
    objective: of the run.
    params: the student's, of `encoder` and `decoder`.
    rng: the run's key.
    shown: photographs whose centre is shown.
    trained: photographs whose crops are drawn as in training.
    epoch: whose crops and masks.

  Returns:
    The section, and for each shown photograph the image, the image without its
    masked patches, and what the student predicts: (h, w, 3) in [0, 1].
  """
  size, token_grid = objective.grid.image_size, objective.grid
  crops = np.stack([photographs.cut_center(p, size) for p in shown])
  patches = masked_patches.to_patches(crops, token_grid.pixels_per_token)
  ids = masked_patches.draw_masks(
    len(shown), token_grid.shape, objective.config.masking.to_dict()
  )
  predictions, hidden, losses, means = masked_patches.measure(
    objective, params, patches, *ids
  )

  patches = masked_patches.output_patches(patches, token_grid)

  def paste(values):
    return masked_patches.paste(patches, ids[1], values, token_grid)

  gray = np.zeros_like(hidden)
  images = paste(hidden)
  masked, filled = paste(gray), paste(masked_patches.unnormalize(gray, hidden))
  predicted = paste(masked_patches.unnormalize(predictions, hidden))
  columns = [
    *((image, "image") for image in images),
    *((image, "seen") for image in masked),
    *((image, f"means  {loss:.3f}") for image, loss in zip(filled, means)),
    *((x, f"predicted  {loss:.3f}") for x, loss in zip(predicted, losses)),
  ]
  names = [photograph.credit[0] for photograph in shown]
  tiles = [
    Tile(to_image(pixels, HEIGHT), label, text=f"{label} of {name}")
    for (pixels, label), name in zip(columns, itertools.cycle(names))
  ]
  section = _make_section(
    Sheet([tiles[i :: len(shown)] for i in range(len(shown))]),
    len(shown),
    (float(losses.mean()), float(means.mean())),
    training_losses(objective, params, rng, trained, epoch),
  )
  return section, list(zip(images, masked, predicted))


def _make_section(
  picture: Sheet,
  num_shown: int,
  shown: tuple[float, float],
  training: tuple[float, float],
) -> Section:
  """Both pairs are the student's loss, and that of predicting the mean."""
  rows = [
    (name, f"{loss:.3f}", f"{mean:.3f}", f"{loss / mean:.2f}")
    for name, (loss, mean) in (
      (f"the {num_shown} photographs below", shown),
      ("random crops, as in training", training),
    )
  ]
  header = ("masked patches of", "student", "patch means", "ratio")
  return Section(
    NAME,
    TITLE,
    tables=[Table(rows, header)],
    figures=[Figure(picture, ALT, CAPTION)],
    numbers={
      "shown_loss": shown[0],
      "shown_patch_mean_loss": shown[1],
      "training_crops_loss": training[0],
      "training_crops_patch_mean_loss": training[1],
      "num_shown": num_shown,
    },
    line=f"learning   masked-patch loss {shown[0]:.3f} on {num_shown} "
    f"photographs (patch means {shown[1]:.3f}), {training[0]:.3f} on random "
    f"crops ({training[1]:.3f})",
  )


def training_losses(
  objective: PretrainObjective,
  params: dict,
  rng: jax.Array,
  trained: list[Photograph],
  epoch: int,
) -> tuple[float, float]:
  """Mean loss, and that of predicting the mean, on one epoch's views."""
  config = objective.config
  crops = [
    photographs.cut_views(p, crop_config(config), seed=config.seed, epoch=epoch)
    for p in trained
  ]
  batch = {
    "global_crops": jnp.stack(crops),
    # Only their number matters here: flips are drawn for all views at once.
    "local_crops": jnp.zeros((len(trained), config.data.num_local, 1, 1, 3)),
    "index": jnp.array([p.index for p in trained], jnp.int32),
    "epoch": jnp.full(len(trained), epoch, jnp.int32),
  }
  views = masked_patches.training_views(objective, batch, rng)
  flat = (
    einops.rearrange(np.asarray(a), "b v ... -> (b v) ...") for a in views
  )
  *_, losses, means = masked_patches.measure(objective, params, *flat)
  return float(losses.mean()), float(means.mean())
