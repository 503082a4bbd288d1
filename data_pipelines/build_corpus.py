r"""Packs folders and tars of images into a corpus.

    sapiens2 corpus build --input photographs/ --output corpus/

Image bytes are stored exactly as found, in ArrayRecord shards with a manifest,
in the order of the inputs and, in a folder, of the names. Each is decoded once;
what cannot be is left out and listed, and so are exact duplicates. A JSON file
beside an image says what is known about it.

The output directory appears when it is complete, or not at all. Until then
the work is kept beside it in `.NAME.building`: after Ctrl-C, a kill or an
error the same command continues.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

from data_pipelines.building import dedup, listing, packing, scan, workspace
from data_pipelines.common import command, worker_pool
from data_pipelines.corpus import records, writer

DEFAULT_SHARD_SIZE = 1000


def build_corpus(
  inputs: Sequence[str | os.PathLike],
  output: str | os.PathLike,
  *,
  shard_size: int = DEFAULT_SHARD_SIZE,
  num_workers: int = 0,
  sizes: workspace.Sizes = workspace.DEFAULT_SIZES,
) -> tuple[dict, bool]:
  """Builds a corpus directory, continues one, or finds it complete.

  The result does not depend on the number of workers, nor on how often the
  build was interrupted. Memory grows only with the number of files
  in one directory.

  Args:
    inputs: folders of images, uncompressed tars, globs of tars; paths or
      URLs. With several folders or tars, each record's name starts with the
      name of its own.
    output: directory to make, on a disk.
    shard_size: records a shard.
    num_workers: processes; 0 works in this one. They import the main module,
      which must not start anything by that.
    sizes: how much is done at a time.

  Returns:
    The manifest, and whether it was completed now (False: found complete,
    from inputs of the same names, sizes and times of change).

  Raises:
    ValueError: nothing usable in the inputs, a bad argument, inputs that
      changed in the middle, or an output that exists and was built from
      something else.
    OSError: something cannot be read or written, or a worker was ended; what
      is done so far is kept, the same call continues.
  """
  if shard_size < 1:
    raise ValueError(f"shard_size={shard_size} must be at least 1.")
  workers = worker_pool.WorkerPool(num_workers)
  workspace.check_local(output)
  units = listing.find_units(inputs)
  manifest = workspace.find_complete(
    output,
    lambda: workspace.hash_inputs(shard_size, map(listing.hash_unit, units)),
    "built from other inputs or another shard_size",
  )
  if manifest is not None:
    return manifest, False
  arguments = {
    "inputs": [listing.absolute(given) for given in inputs],
    "shard_size": shard_size,
    "version": records.VERSION,
  }
  with (
    workspace.open_building(output, arguments, sizes) as building,
    workers,
  ):
    units = listing.list_units(building, units, workers)
    hashes = (listing.read_hash(building, n, u) for n, u in enumerate(units))
    num_pieces = scan.scan_pieces(building, units, workers)
    num_kept = dedup.find_duplicates(building, num_pieces, workers)
    counts = dedup.read_kept_counts(building, num_pieces)
    shards = packing.run_shards(
      building,
      packing.plan_shards(counts, num_kept, shard_size),
      functools.partial(packing.write_shard, building),
      workers,
      label="packing",
    )
    manifest = writer.commit(
      building.corpus,
      shards,
      dedup.read_left_out(building, num_pieces, "rejected"),
      dedup.read_left_out(building, num_pieces, "duplicates"),
      {
        "inputs_hash": workspace.hash_inputs(shard_size, hashes),
        "left_out": {
          kind: count
          for kind, (count, _) in listing.read_left_out(
            building, units
          ).counts.items()
        },
      },
    )
  return manifest, True


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser("sapiens2 corpus build", __doc__)
  what = "a folder, a tar or a glob of tars; repeatable"
  command.add_inputs(parser, what)
  command.add_output(parser, DEFAULT_SHARD_SIZE)
  given = parser.parse_args(arguments)
  return workspace.run_command(
    "build_corpus",
    given.output,
    lambda: build_corpus(
      given.input,
      given.output,
      shard_size=given.shard_size,
      num_workers=given.workers,
    ),
  )


def run() -> None:
  command.start(main)


if __name__ == "__main__":
  run()
