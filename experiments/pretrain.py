r"""Joint pretraining (masked reconstruction + self-distillation), any size.

Run:    python -m sapiens2_jax.train --workdir runs/p04 \
          --config experiments/pretrain.py:size=0.4b \
          --config.data.path=/data/corpus
Smoke:  --config experiments/pretrain.py:size=toy (CPU, minutes)
Sizes:  toy 0.1b 0.4b 0.8b 1b 5b, at 1024 x 768
Needs:  for all sizes but toy a TPU or GPU mesh [estimate; not yet run]

Every value is marked: `paper` is published (arXiv 2604.21681), `DINOv3` and
`MAE` come from those code bases, `ours` is a choice of this project.
"""

import pathlib

import ml_collections

from sapiens2_jax.config import load_module, parse_argument

_common = load_module(pathlib.Path(__file__).with_name("common.py"))


def get_config(argument: str = "size=0.4b") -> ml_collections.ConfigDict:
  size = parse_argument(argument, size="0.4b")["size"]
  config = _common.get_common(size)

  config.model.update(
    {
      "decoder_dim": 512,  # paper
      "decoder_layers": 8,  # paper
      "decoder_heads": 4,  # ours: heads of 128 fill the matrix unit of a TPU
      "prototypes": 65536,  # ours: DINOv3's default
      "head_hidden_dim": 2048,  # DINOv3
      "bottleneck_dim": 256,  # DINOv3
    }
  )

  config.data.update(
    {
      "global_batch_size": 2048,  # ours: 500k steps = 1 billion images
      "image_size": (1024, 768),  # paper: height, width of global crops
      "local_size": (512, 384),  # ours: as many tokens as a masked global
      "num_global": 2,  # paper
      "num_local": 4,  # paper
      "global_area": (0.5, 1.0),  # paper: share of the image's area
      "local_area": (0.2, 0.7),  # paper
      "max_skipped_share": 0.01,  # ours: the run stops above
    }
  )

  # "standard" augmentation of local crops: DINO family. Globals only flip:
  # they carry the reconstruction target (paper).
  config.augment = ml_collections.ConfigDict(
    {
      "brightness": 0.4,
      "contrast": 0.4,
      "saturation": 0.2,
      "hue": 0.1,
      "jitter_probability": 0.8,
      "grayscale_probability": 0.2,
      "blur_probability": 0.5,
      "blur_sigma": (0.1, 2.0),  # pixels
      "solarize_probability": 0.2,
    }
  )

  config.masking = ml_collections.ConfigDict(
    {
      "mask_ratio": 0.75,  # paper
      "block_probability": 0.4,  # paper
    }
  )

  config.objective = ml_collections.ConfigDict(
    {
      "w_mae": 1.0,  # paper
      "w_cl": 0.4,  # paper
      "w_koleo": 0.04,  # paper
      "target": "center",  # paper; "sinkhorn": DINOv3
      "student_temp": 0.1,  # paper
      "teacher_temp_start": 0.065,  # paper
      "teacher_temp": 0.07,  # paper
      "teacher_temp_steps": 1000,  # paper
      "teacher_momentum": 0.992,  # paper
      "center_momentum": 0.9,  # paper
      "koleo_group_size": 16,  # DINOv3; consecutive samples of the batch
    }
  )

  config.optim.update(
    {
      "name": "adamw",  # paper; muon (ours): its matrices by Muon
      "num_steps": 500_000,  # paper
      "schedule": "cosine",  # paper
      "warmup_steps": 1000,  # paper
      "peak_lr": 1e-4,  # paper
      "final_lr": 1e-7,  # paper
      "b1": 0.9,  # paper
      "b2": 0.95,  # paper
      "eps": 1e-8,  # ours: the usual one
      "weight_decay": 0.05,  # paper
      "decay_tokens": False,  # paper: not on special tokens
      "clip_norm": 5.0,  # paper
      "layer_decay": 1.0,  # one learning rate at all depths
    }
  )

  config.sharding.prototypes = "tensor"

  # Ridge regression from frozen features of the teacher to dense targets, and
  # retrieval, while training, in one process; all ours.
  config.probes = ml_collections.ConfigDict(
    {
      "every": 0,  # steps, and at the end; 0: never
      "path": "",  # images, with labels for these tasks
      "tasks": (),  # of normal, albedo, pointmap, segmentation
      "num_images": 64,  # from the first; every other one is measured on
    }
  )

  if size == "toy":
    _make_toy(config)
  return config


def _make_toy(config: ml_collections.ConfigDict) -> None:
  """Shrinks everything for minutes on two CPU cores; all values: ours."""
  config.model.update(
    decoder_dim=128,
    decoder_layers=4,
    prototypes=512,
    head_hidden_dim=256,
    bottleneck_dim=64,
  )
  config.data.update(
    global_batch_size=16,
    image_size=(128, 96),
    local_size=(64, 48),
  )
  # A sharper teacher: at the paper's temperature its targets stay uniform for
  # thousands of steps. Groups of 8: one epoch of the eight sample photographs,
  # so that KoLeo does not part two views of one photograph.
  config.objective.update(
    teacher_temp_start=0.02, teacher_temp=0.02, koleo_group_size=8
  )
  config.optim.update(num_steps=220, warmup_steps=20, peak_lr=2e-3)
