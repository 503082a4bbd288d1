"""What sapiens2_jax asks of the task before there is a config."""

import numpy as np

from depth_task.task import FIELDS, make_task
from sapiens2_jax.fields import POSITIVE, Field
from sapiens2_jax.tasks import Score, TaskDefinition
from sapiens2_jax.tasks.files import to_npy
from sapiens2_jax.tasks.output import Output
from sapiens2_jax.tasks.probes import OnlineProbe, ProbeSettings


class DepthOutput(Output):
  """Metres, or another unit."""

  options = {"unit": Field(1.0, "Metres for each 1 in the file.", POSITIVE)}

  def encode(self, image, prediction, labels):
    return {("metres", ".npy"): to_npy(prediction / self.chosen["unit"])}


TASK = TaskDefinition(
  name="depth",
  make=make_task,
  score=Score("abs_rel", "depth abs rel %", False, factor=100),
  fields=FIELDS,
  note="Bright is near. metres/*.npy is (h, w) float16.",
  output=DepthOutput,
  truth=lambda image, labels: labels.depth,
  probe=ProbeSettings(
    output_name="log_depth",
    num_outputs=1,
    online=OnlineProbe(
      key="depth_log_error",
      higher_is_better=False,
      dense=lambda targets: (targets["log_depth"][..., None], targets["mask"]),
      score=lambda found, wanted: float(np.mean(np.abs(found - wanted))),
    ),
  ),
)
