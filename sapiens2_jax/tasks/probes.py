"""How features that are not trained any more are measured on a task."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

Targets = dict[str, np.ndarray]
Dense = tuple[Float[np.ndarray, "h w c"], Bool[np.ndarray, "h w"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineProbe:
  """A regression from a patch's features to the mean of its targets.

  Attributes:
    key: of the number in metrics, after `probe_`.
    higher_is_better: or lower.
    dense: `ProbedTask.targets` of an image as a map and what is known of it.
    score: the number, of (n, c) predictions and targets.
  """

  key: str
  higher_is_better: bool
  dense: Callable[[Targets], Dense]
  score: Callable[[Float[np.ndarray, "n c"], Float[np.ndarray, "n c"]], float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSettings:
  """A light decoder on frozen features, instead of the task's own head.

  Attributes:
    output_name: of the map that the task reads in outputs.
    num_outputs: channels of it.
    has_scale: the task also reads a number, `scale`.
    fields: values of a config, by dotted names, where they are not the
      defaults of the task's fields.
    online: what is measured while a run trains; None: nothing.
  """

  output_name: str
  num_outputs: int
  has_scale: bool = False
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  online: OnlineProbe | None = None
