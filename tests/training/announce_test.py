"""What a run says about itself."""

import pytest
from ml_collections import ConfigDict

from sapiens2_jax.models import partition
from sapiens2_jax.training import announce

_MODEL = {
  **{"size": "5b", "dtype": "bfloat16", "attention_backend": "auto"},
  **{"decoder_dim": 512, "decoder_heads": 4},
}


@pytest.mark.parametrize(
  ("change", "capability", "line"),
  [
    ({}, "9.0", "cudnn: a GPU that cuDNN knows"),
    (
      {"decoder_heads": 2},
      "8.0",
      "cudnn: a GPU that cuDNN knows; "
      "xla: cuDNN takes heads of up to 128 here, not 256",
    ),
    (
      {"dtype": "float32"},
      "9.0",
      "xla: cuDNN takes 16-bit numbers, not float32",
    ),
    ({"attention_backend": "xla"}, "9.0", "xla: model.attention_backend says"),
  ],
)
def test_the_choice_of_attention_is_given_with_its_reason(
  monkeypatch, change, capability, line
):
  monkeypatch.setattr(partition, "platform", lambda: "gpu")
  monkeypatch.setattr(partition, "compute_capability", lambda: capability)
  assert announce.attention(ConfigDict(_MODEL | change)).startswith(line)
