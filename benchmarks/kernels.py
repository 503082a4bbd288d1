"""How busy the attention kernels keep a TPU's matrix units, by their schedule.

  python -m benchmarks.kernels [--chip v5p] [--shape "[24, 12, 64, 777]"]

Needs libtpu, no TPU. Compiles the kernels of the training step with the
compiler's dump of VLIW bundles, and divides the cycles that the products would
take on full units (heads padded to them) by the bundles scheduled for a block.
`planning/kernels.py` holds the smallest of each kind.
"""

import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

from sapiens2_jax.chips import CHIPS
from sapiens2_jax.models.attention_kernel import LANES, query_block
from sapiens2_jax.planning.kernels import NARROW, PRODUCTS, SHORT, WIDE

# (query heads, key/value heads, head width, tokens): student and teacher of 1b
# and 5b, decoder. Those of 5b share one schedule with 0.8b.
SHAPES = (
  (24, 12, 64, 777),
  (24, 24, 64, 777),
  (32, 16, 76, 777),
  (24, 12, 64, 3081),
  (32, 16, 76, 3081),
  (4, 4, 128, 3072),
)
# In the order of the tables of `planning.kernels`.
NAMES = tuple(
  f"{kind}, {length}" for kind in PRODUCTS for length in ("short", "long")
)
_CORES = {"v4": 2, "v5p": 2}  # of a chip, each with a schedule of its own
_TOPOLOGY = {
  "v4": "v4:2x2x1",
  "v5p": "v5p:2x2x1",
  "tpu7x": "tpu7x:2x2x1",
}
_BUNDLES = re.compile(r"total scheduled bundles:\s+(\d+)")


def compile_kernels(chip_name: str, shape: tuple[int, ...]) -> None:
  """Compiles forward and backward of one shape; run with a dump folder set."""
  import jax
  import jax.numpy as jnp

  from sapiens2_jax.models.attention import attention
  from sapiens2_jax.planning.compiling import topology_devices

  jax.config.update("jax_platforms", "cpu")
  topology = _TOPOLOGY.get(chip_name, f"{chip_name}:2x2")
  mesh = jax.make_mesh(
    (1,),
    ("data",),
    devices=topology_devices(topology)[:1],
    axis_types=(jax.sharding.AxisType.Auto,),
  )
  sharding = jax.sharding.NamedSharding(mesh, jax.P())
  h, g, e, n = shape
  q, k = (
    jax.ShapeDtypeStruct((1, heads, e, n), jnp.bfloat16, sharding=sharding)
    for heads in (h, g)
  )

  def loss(q, k, v):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      out = attention(q, k, v, backend="pallas")
    return jnp.sum(out.astype(jnp.float32))

  jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(q, k, k).compile()


def scheduled_bundles(chip_name: str, shape: tuple[int, ...]) -> dict[str, int]:
  """Bundles of a block of each of `PRODUCTS`."""
  with tempfile.TemporaryDirectory() as folder:
    dump = "--xla_jf_dump_llo_text=true --xla_jf_emit_annotations=true"
    subprocess.run(
      [sys.executable, "-m", "benchmarks.kernels", "--chip", chip_name]
      + ["--compile", "--shape", json.dumps(shape)],
      env={
        **os.environ,
        "LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={folder} {dump}",
      },
      check=True,
      stderr=subprocess.DEVNULL,
    )
    found = {}
    for kind in PRODUCTS:
      pattern = f"*attention_{kind}*schedule-analysis_final_bundles*"
      (path,) = glob.glob(os.path.join(folder, pattern))
      with open(path) as file:
        found[kind] = int(_BUNDLES.search(file.read())[1])
    return found


def efficiencies(chip_name: str, shape: tuple[int, ...]) -> dict[str, float]:
  """Shares of the peak by kind, on padded products."""
  chip = CHIPS[chip_name]
  unit, size = chip.matrix_unit, -(-shape[3] // LANES) * LANES
  head_dim = -(-shape[2] // unit) * unit
  per_cycle = chip.peak_flops / chip.frequency / _CORES.get(chip_name, 1)
  shares = {}
  for kind, bundles in scheduled_bundles(chip_name, shape).items():
    products, block = PRODUCTS[kind], query_block(kind, size, size)
    ideal = products * 2 * block * size * head_dim / per_cycle
    length = "short" if size <= SHORT else "long"
    shares[f"{kind}, {length}"] = ideal / bundles
  return shares


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--chip", choices=list(CHIPS), help="only this one")
  parser.add_argument(
    "--shape",
    type=json.loads,
    action="append",
    help="[query heads, key/value heads, head width, tokens]; default: all",
  )
  parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.compile:
    compile_kernels(given.chip, given.shape[0])
    return
  result = {}
  for chip in [given.chip] if given.chip else CHIPS:
    lowest: dict[str, float] = {}
    for shape in given.shape or SHAPES:
      shares = efficiencies(chip, shape)
      shown = "  ".join(f"{k} {share:.1%}" for k, share in shares.items())
      print(
        f"{chip:<4} heads {shape[:2]} of {shape[2]}, {shape[3]} tokens: {shown}"
      )
      width = "narrow" if shape[2] < LANES else "wide"
      for name, share in shares.items():
        name = f"{width}, {name}"
        lowest[name] = min(share, lowest.get(name, share))
    for width, table in (("narrow", NARROW), ("wide", WIDE)):
      for name, used in zip(NAMES, table[chip]):
        name = f"{width}, {name}"
        if name in lowest:  # Of few shapes none may be short.
          print(
            f"{chip:<4} {name}: lowest {lowest[name]:.1%}, plans use {used:.0%}"
          )
    result[chip] = {name: round(share, 3) for name, share in lowest.items()}
  print("RESULT " + json.dumps(result))


if __name__ == "__main__":
  main()
