r"""What transformers' image processor does: goldens of prepare and finish.

Run:  python -m tests.interop.make_processor_goldens \
        --output tests/interop/data/processor.npz

Needs torchvision. The file here was written with transformers 5.24.0, torch
2.14.1 and torchvision 0.29.1 on CPU; 5.23.0, 2.13.0 and the Python part of
0.28.0 wrote the same numbers.
"""

import argparse
import types

import numpy as np
import torch
from transformers import Sapiens2ImageProcessor

from sapiens2_jax.interop import transformers_config
from sapiens2_jax.interop.head_keys import releases
from tests.interop import processor_inputs as inputs

MEAN, STD = (
  np.array(x)[:, None, None]
  for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def processor(task):
  head = releases()[task].transformers
  config = transformers_config.preprocessor_config(inputs.INPUT, head)
  return Sapiens2ImageProcessor.from_dict(config)


def xywh(boxes):
  return [[left, top, width, height] for top, left, height, width in boxes]


def pixels(found):
  """Every fourth pixel, in levels of 0 to 255, channels last."""
  levels = 255 * (found["pixel_values"].double().numpy() * STD + MEAN)
  return levels[:, :, ::4, ::4].transpose(0, 2, 3, 1).astype(np.float32)


def named(task):
  tensors = {
    name: torch.from_numpy(np.atleast_3d(x)[None])
    for name, x in inputs.outputs(task).items()
  }
  return {name: x.movedim(-1, 1) for name, x in tensors.items()}


def finish(task, size, boxes):
  """Arrays of one image of `size`."""
  made, found = (make(task.split()[0]) for make in (processor, named))
  if task == "pose":
    heatmaps = found["heatmaps"].repeat(len(boxes), 1, 1, 1)
    people = made.post_process_pose_estimation(
      types.SimpleNamespace(heatmaps=heatmaps),
      boxes=[xywh(boxes)],
      outputs_flipped=types.SimpleNamespace(heatmaps=heatmaps.roll(1, -1)),
    )[0]
    return np.stack(
      [
        np.concatenate([p["keypoints"], p["scores"][:, None]], axis=1)
        for p in people
      ]
    )
  if task == "segmentation":
    outputs = types.SimpleNamespace(logits=found["logits"])
    (parts,) = made.post_process_semantic_segmentation(outputs, [size])
    return parts.numpy().astype(np.uint8)
  if task == "matting":
    matte = found["matte"]
    outputs = types.SimpleNamespace(
      foregrounds=matte[:, :3], alphas=matte[:, 3:]
    )
    (one,) = made.post_process_image_matting(outputs, [size])
    result = torch.cat([one["foreground"], one["alpha"]])
  elif task.startswith("normal"):
    outputs = types.SimpleNamespace(normals=found["normal"])
    sizes = "target_sizes" if task == "normal by target" else "source_sizes"
    (one,) = made.post_process_normal_estimation(outputs, **{sizes: [size]})
    result = one["normals"]
  else:
    outputs = types.SimpleNamespace(
      pointmaps=found["pointmap"], scales=found["scale"][:, :, 0, 0]
    )
    (one,) = made.post_process_pointmap_estimation(outputs, [size])
    result = one["pointmap"]
  return result.movedim(0, -1).numpy()[::6, ::6]


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--output", required=True)
  output = parser.parse_args().output
  arrays = {}
  for number, (size, boxes) in enumerate(zip(inputs.SIZES, inputs.BOXES)):
    image = inputs.image(size)
    for task in (
      *("pose", "segmentation", "normal", "pointmap", "matting"),
      "normal by target",
    ):
      arrays[f"{task}.finish.{number}"] = finish(task, size, boxes)
    for task in ("segmentation", "normal"):
      made = processor(task)(image, return_tensors="pt")
      arrays[f"{task}.prepare.{number}"] = pixels(made)[0]
    made = processor("pose")(image, boxes=[xywh(boxes)], return_tensors="pt")
    arrays[f"pose.prepare.{number}"] = pixels(made)
  np.savez_compressed(output, **arrays)


if __name__ == "__main__":
  main()
