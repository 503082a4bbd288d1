r"""The network of curation's safety score as an ONNX file of a vector.

Run:    python benchmarks/safety_vector.py --output safety.onnx
Needs:  the extra curation, and its model:
        sapiens2 corpus models --only safety

Its features before the score are 1024 numbers of an image of 224 x 224. The
file takes RGB as `--config.embedding.model` gives it, with `--mean 0.482353
0.458824 0.407843 --std 0.003922 0.003922 0.003922`. For measuring: the network
was trained to tell one thing.
"""

import argparse
import json
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, utils

from data_pipelines.curation.models import cache

FEATURES = "Reshape:0"
ZEROS = np.zeros((1, 224, 224, 3), np.float32)


def take_rgb(model: onnx.ModelProto) -> None:
  """Turns around the channels of the first kernel, which are blue first."""
  first = next(node for node in model.graph.node if node.op_type == "Conv")
  (kernel,) = (x for x in model.graph.initializer if x.name == first.input[1])
  turned = numpy_helper.to_array(kernel)[:, ::-1]
  kernel.CopyFrom(
    numpy_helper.from_array(np.ascontiguousarray(turned), kernel.name)
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True)
  given = parser.parse_args()
  model = onnx.load(cache.find_model("open_nsfw"))
  take_rgb(model)
  model = onnx.shape_inference.infer_shapes(model)
  names = [one.name for one in model.graph.input]
  onnx.save(
    utils.Extractor(model).extract_model(names, [FEATURES]), given.output
  )
  session = onnxruntime.InferenceSession(given.output)
  (made,) = session.run(None, {session.get_inputs()[0].name: ZEROS})
  print(f"RESULT {json.dumps({'features': made.shape[-1]})}")


if __name__ == "__main__":
  sys.exit(main())
