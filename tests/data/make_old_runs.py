r"""Writes tests/data/old_runs: what the first version of this code left behind.

Run:  git worktree add /tmp/first d30f8c6
      python tests/data/make_old_runs.py --code /tmp/first --output DIR

Two corpora, a run of pretraining, one of fine-tuning on normals, and what
export and evaluate wrote of them, all as small as that code allows. They show
that newer code still reads, continues and measures what older code wrote, and
are therefore never made anew; bytes differ by what the clock said.

Both runs did all of their 8 steps, and their metrics say so, but of their
checkpoints only that of step 4 is kept: whoever continues them has to measure
the same again. Paths in them are relative to the directory that holds all.
"""

import argparse
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

import cv2
import numpy as np

NUM_STEPS = 8
KEPT_STEP = 4
# The smallest encoder: its name goes into the config of the runs.
ARCHITECTURE = '"smallest", 8, 2, 2, num_full_first=1, num_full_last=0'
PROGRAM = f"""
import runpy, sys
from sapiens2_jax.architectures import ARCHITECTURES, Architecture
ARCHITECTURES["smallest"] = Architecture({ARCHITECTURE})
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
SHARED = (
  "model.size=smallest",
  "data.image_size=(64, 48)",
  "data.global_batch_size=4",
  f"optim.num_steps={NUM_STEPS}",
  "optim.warmup_steps=2",
  "optim.moments_dtype=bfloat16",
  f"checkpoint.every={KEPT_STEP}",
  "logging.every=1",
)
PRETRAIN = (
  "data.path=photographs",
  "data.local_size=(48, 16)",
  "model.decoder_layers=1",
  "model.decoder_dim=4",
  "model.decoder_heads=1",
  "model.prototypes=16",
  "model.head_hidden_dim=8",
  "model.bottleneck_dim=8",
  "objective.koleo_group_size=4",
)
NORMAL = (
  "data.path=labelled",
  "head.upsample_channels=(4, 4, 4, 4)",
  "evaluation.path=labelled",
  "evaluation.every=4",
)
# Archives and what is in each.
ARCHIVES = {
  "corpora": ("photographs", "labelled"),
  "pretrain": ("pretrain",),
  "normal": ("normal",),
  "written": ("transformers", "reference", "evaluated"),
}
# Of a workdir, what nobody reads.
LEFT_OUT = ("compile_cache", "tensorboard")


def write_images(folder: pathlib.Path) -> None:
  """Six smooth pictures in `images`; six balls with normals in `balls`."""
  for name in ("images", "balls/rgb", "balls/mask", "balls/normal"):
    (folder / name).mkdir(parents=True)
  rng = np.random.default_rng(0)
  for i in range(6):
    coarse = rng.integers(0, 256, (4, 3, 3), np.uint8)
    size = (60 + 4 * i, 84 - 3 * i)
    cv2.imwrite(f"{folder}/images/{i}.jpg", cv2.resize(coarse, size))

    y, x = np.indices((36 + i, 30), np.float32)
    x, y = (x - rng.uniform(13, 17)) / 12, (rng.uniform(14, 20) - y) / 12
    is_ball = x**2 + y**2 < 1
    z = np.sqrt(np.maximum(0, 1 - x**2 - y**2))
    # Coarse numbers, which take little room.
    normal = np.stack([x, y, z], -1).astype(np.float16)
    normal[~is_ball] = 0
    light = 255 * np.clip(normal @ rng.dirichlet((1, 1, 1)), 0, 1)
    image = np.where(is_ball, light, 90).astype(np.uint8)
    cv2.imwrite(f"{folder}/balls/rgb/{i}.png", image)
    mask = 255 * is_ball.astype(np.uint8)
    cv2.imwrite(f"{folder}/balls/mask/{i}.png", mask)
    np.save(folder / f"balls/normal/{i}.npy", normal)


def make_runs(folder: pathlib.Path, code: pathlib.Path) -> None:
  """Runs the commands of a checkout in `folder`."""

  def run(module: str, *arguments: str) -> None:
    subprocess.run(
      [sys.executable, "-c", PROGRAM, module, *arguments],
      cwd=folder,
      env={**os.environ, "PYTHONPATH": str(code), "JAX_PLATFORMS": "cpu"},
      check=True,
    )

  def train(name: str, spec: str, overrides: tuple[str, ...]) -> None:
    run(
      *("sapiens2_jax.train", "--workdir", name),
      *("--config", f"{code}/experiments/{spec}"),
      *(f"--config.{override}" for override in SHARED + overrides),
    )
    checkpoints = folder / name / "checkpoints"
    shutil.rmtree(checkpoints / str(NUM_STEPS))
    for left_out in LEFT_OUT:
      shutil.rmtree(folder / name / left_out, ignore_errors=True)

  pack = ("--shard_size", "4", "--output")
  run("data_pipelines.build_corpus", "--input", "images", *pack, "photographs")
  run(
    *("data_pipelines.annotated", "--input", "folders:balls"),
    *(*pack, "labelled"),
  )
  train("pretrain", "pretrain.py:size=toy", PRETRAIN)
  train("normal", "finetune.py:task=normal,size=toy", NORMAL)
  for kind in ("transformers", "reference"):
    run(
      *("sapiens2_jax.export", "--checkpoint", "pretrain"),
      *("--output", kind, "--format", kind),
    )
  run(
    *("sapiens2_jax.evaluate", "--checkpoint", "normal", "--data", "labelled"),
    *("--output", "evaluated"),
  )


def pack(folder: pathlib.Path, names: tuple[str, ...], path: str) -> None:
  """Writes an archive whose bytes depend on the files alone."""

  def forget(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info

  with (
    lzma.open(path, "wb", preset=9 | lzma.PRESET_EXTREME) as file,
    tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
  ):
    for name in names:  # tarfile sorts what it finds in a directory.
      tar.add(folder / name, name, filter=forget)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--code", required=True, help="checkout of d30f8c6")
  parser.add_argument("--output", required=True, help="directory to make")
  given = parser.parse_args()
  os.makedirs(given.output)
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_images(folder)
    make_runs(folder, pathlib.Path(given.code).resolve())
    for archive, names in ARCHIVES.items():
      path = os.path.join(given.output, f"{archive}.tar.xz")
      pack(folder, names, path)
      print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
  main()
