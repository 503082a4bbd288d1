"""How far an export may be from its checkpoint; in PyTorch: parity_test.py."""

import numpy as np
import pytest

from sapiens2_jax.interop import parity, verification

MARKER = {
  "format": "transformers",
  "architecture": "tiny",
  "weights": "teacher",
  "step": 4,
  "dtype": "float32",
}


@pytest.mark.parametrize(
  ("largest", "difference", "passed"),
  [
    (0.1, 1e-5, True),
    (0.1, 4e-5, False),
    (5.0, 4e-5, True),
    (5.0, 4e-4, False),
    (5.0, np.nan, False),
  ],
)
def test_differences_are_parts_of_outputs_above_1(
  monkeypatch, largest, difference, passed
):
  def forward(value):
    return lambda images: {
      "cls": np.full(3, largest),
      "patches": np.array([largest, value]),
    }

  monkeypatch.setattr(verification, "read_marker", lambda _: MARKER)
  monkeypatch.setattr(verification, "image_sizes", lambda _: [(32, 16)])
  monkeypatch.setattr(
    verification, "load_ours", lambda *_: forward(largest / 2)
  )
  monkeypatch.setattr(
    parity, "torch_forward", lambda _: (forward(largest / 2 + difference), {})
  )
  found = verification.verify("export", "run", None)
  assert found["passed"] == passed
