"""Fields of dense probes. See `schema` for the sources."""

from sapiens2_jax.evaluation.probing import RETRIEVAL
from sapiens2_jax.fields import (
  COUNT,
  FEW,
  NAMES,
  SIZE,
  WIDTH,
  Field,
  all_of,
  at_least,
  group,
  one_of,
)
from sapiens2_jax.models.from_config import DTYPES
from sapiens2_jax.tasks import registry
from sapiens2_jax.validation.schema import CLIP, DISTRIBUTED, FIRST, RATE

_STORED = dict.fromkeys(("float16", "float32"))


def _probed(name: str, value: tuple) -> str:
  known = (*registry.probed_task_names(), RETRIEVAL) if value else ()
  return all_of(NAMES, one_of(dict.fromkeys(known)))(name, value)


# The paper (section 4, table 2) gives no hyperparameters of its probes.
PROBE = {
  **FIRST,
  **DISTRIBUTED,
  "tasks": Field((), "Tasks that are probed, or retrieval.", _probed, "ours"),
  **group(
    *("data", "ours"),
    train=Field("", "Labelled images, any place that data.path may be."),
    test=Field("", "Other ones."),
    image_size=Field((1024, 768), "Height and width, pixels.", SIZE),
    max_pixels=Field(
      170_000_000, "Pixels above which an image is left out.", COUNT
    ),
    num_workers=Field(
      0,
      "Processes that read labels; 0: threads in this one.",
      at_least(0, 4096),
    ),
  ),
  **group(
    *("features", "ours"),
    directory=Field("", "Where they are kept; empty: in the output."),
    compute_dtype=Field("float32", "Of the backbone.", one_of(DTYPES)),
    dtype=Field("float16", "On disk: float16 or float32.", one_of(_STORED)),
  ),
  **group("decoder", "ours", hidden_dim=Field(256, "Its width.", WIDTH)),
  **group(
    *("optim", "ours"),
    num_steps=Field(10_000, "Updates of a probe.", COUNT),
    batch_size=Field(16, "Images of a step.", FEW),
    warmup_steps=Field(500, "Steps in which the rate rises.", at_least(0)),
    peak_lr=Field(1e-3, "The largest learning rate.", RATE),
    weight_decay=Field(0.05, "Times the learning rate.", at_least(0)),
    clip_norm=Field(1.0, "Largest norm of the gradient.", CLIP),
  ),
}
