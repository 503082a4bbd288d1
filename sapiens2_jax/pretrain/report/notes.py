"""What is known of the metrics of pretraining, beside their values."""

import dataclasses
from collections.abc import Sequence

from sapiens2_jax.pretrain.objective import RANK_SAMPLES, PretrainObjective
from sapiens2_jax.pretrain.report import reconstruction
from sapiens2_jax.report.metrics import Note
from sapiens2_jax.report.page import Section


def make_notes(
  objective: PretrainObjective, sections: Sequence[Section]
) -> dict[str, Note]:
  """Notes of the terms, and of what the objective itself measures.

  A metric without a note is shown all the same.

  Args:
    objective: of the run.
    sections: on photographs; that of reconstruction gives its loss a reference.
  """
  data, arch = objective.config.data, objective.encoder.architecture
  micro = data.global_batch_size // data.accumulation_steps
  rank_max = min(micro, RANK_SAMPLES, arch.embed_dim)
  notes = {
    "rank_me": Note(
      "effective number of dimensions of [cls], measured on at most "
      f"{rank_max} images, so it cannot exceed {rank_max}; falling towards 1 "
      "is collapse.",
      rank_max,
      f"maximum {rank_max}",
      "{:.1f}",
    ),
    "feature_std": Note(
      "1 when features are spread evenly over the sphere and 0 when all are "
      "the same.",
      1.0,
      "spread evenly",
    ),
  }
  for name, term in objective.terms.items():
    for key, note in term.notes().items():
      notes[f"loss_{name}" if key == "loss" else key] = note
  for section in sections:
    if section.name == reconstruction.NAME and section.numbers:
      mean = section.numbers["training_crops_patch_mean_loss"]
      key = reconstruction.metric(objective)
      text = (
        " Its dashed line is the loss of predicting each patch's own mean, "
        "measured on crops and masks that training drew: a model that learns "
        "falls below it."
      )
      notes[key] = dataclasses.replace(
        notes[key],
        text=notes[key].text + text,
        reference=mean,
        label=f"patch means {mean:.3f}",
      )
  return notes
