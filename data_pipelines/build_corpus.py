r"""Packs folders of images into ArrayRecord shards with a manifest.

Run:  python -m data_pipelines.build_corpus --input DIR [--input DIR ...] \
        --output DIR [--shard_size 1000] [--attribution attribution.json]

Image bytes are stored exactly as found, in the order of their names. Each is
decoded once; what cannot be is left out and listed in the manifest, and so are
exact duplicates. The output directory appears when it is complete, or not at
all. Exit code 2 with one line of explanation if it cannot be built.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

from data_pipelines import corpus_writer, images, progress, records, sources

DEFAULT_SHARD_SIZE = 1000
_NOTES = ("source", "licence", "attribution")

# Record name -> {"source", "licence", "attribution"}, each optional.
Notes = Mapping[str, Mapping[str, str]]


def build_corpus(
  inputs: Sequence[str | os.PathLike],
  output: str | os.PathLike,
  *,
  shard_size: int = DEFAULT_SHARD_SIZE,
  attribution: str | os.PathLike | None = None,
) -> tuple[dict, bool]:
  """Builds a corpus directory, or finds it complete.

  The same inputs are the same names, sizes and modification times, the same
  attribution and the same shard size.

  Args:
    inputs: folders of images. With several, each record's name starts with
      its folder's name.
    output: directory to make.
    shard_size: records a shard.
    attribution: JSON file {record name: {"source", "licence", "attribution"}},
      each entry optional.

  Returns:
    The manifest, and whether it was built now (False: found complete).

  Raises:
    ValueError: nothing usable in the inputs, a bad argument, or an output
      that exists and was built from something else.
  """
  output = pathlib.Path(output)
  if shard_size < 1:
    raise ValueError(f"shard_size={shard_size} must be at least 1.")
  files = _list_files(inputs)
  notes = _read_notes(attribution, files) if attribution else {}
  inputs_hash = _hash_inputs(files, notes, shard_size)
  if (output / sources.MANIFEST_NAME).is_file():
    manifest = sources.read_manifest(output)
    if manifest["inputs_hash"] != inputs_hash:
      raise ValueError(
        f"{output}: holds a corpus built from other inputs, attribution or "
        "shard_size; give another output, or remove this one first."
      )
    return manifest, False
  with corpus_writer.atomic_directory(output) as directory:
    manifest = corpus_writer.write_corpus(
      read_images(files, notes),
      directory,
      shard_size=shard_size,
      inputs_hash=inputs_hash,
    )
  return manifest, True


def read_images(
  files: Mapping[str, pathlib.Path], notes: Notes
) -> Iterator[records.Record | corpus_writer.Rejected]:
  """Reads and decodes each file once, showing progress.

  Args:
    files: record name -> file.
    notes: what to say of some of them.

  Yields:
    For each file in order, its record, or why it cannot be used.
  """
  with progress.Progress("packing", len(files), "img") as shown:
    for name, path in files.items():
      try:
        record = sources.read_record(path, name)
        images.decode_image(record.image)
      except images.ImageDecodeError as error:
        yield corpus_writer.Rejected(name, error.reason, error.detail)
      else:
        yield dataclasses.replace(record, **notes.get(name, {}))
      shown.advance()


def summary(manifest: Mapping) -> str:
  """Says in one line what a corpus holds."""
  return (
    f"{manifest['num_records']} images in {len(manifest['shards'])} shards, "
    f"{manifest['num_bytes'] / 1e6:.1f} MB, "
    f"{len(manifest['rejected'])} rejected, "
    f"{len(manifest['duplicates'])} duplicates"
  )


def _list_files(inputs: Sequence[str | os.PathLike]) -> dict[str, pathlib.Path]:
  """Lists all inputs: record name -> file."""
  files = {}
  for directory in map(pathlib.Path, inputs):
    folder = sources.FolderSource(directory)
    if not len(folder):
      raise ValueError(
        f"{directory}: no images ({' '.join(sources.EXTENSIONS)}) below it."
      )
    prefix = f"{directory.resolve().name}/" if len(inputs) > 1 else ""
    for index in range(len(folder)):
      name = prefix + folder.name(index)
      if name in files:
        raise ValueError(
          f"{directory}: another input already has the name {name}; inputs "
          "need different directory names."
        )
      files[name] = folder.path(index)
  return files


def _read_notes(
  path: str | os.PathLike, files: Mapping[str, pathlib.Path]
) -> Notes:
  try:
    notes = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise ValueError(f"{path}: cannot be read: {error}") from error
  if not isinstance(notes, dict):
    raise ValueError(f"{path}: expected a JSON object of image names.")
  for name, note in notes.items():
    if name not in files:
      raise ValueError(f"{path}: no input image has the name {name}.")
    if not isinstance(note, dict) or not all(
      key in _NOTES and isinstance(value, str) for key, value in note.items()
    ):
      raise ValueError(
        f"{path}: {name}: expected texts for {', '.join(_NOTES)} only."
      )
  return notes


def _hash_inputs(
  files: Mapping[str, pathlib.Path], notes: Notes, shard_size: int
) -> str:
  digest = hashlib.sha256()
  for name, path in files.items():
    stat = path.stat()
    digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
  rest = {"notes": notes, "shard_size": shard_size, "version": records.VERSION}
  digest.update(json.dumps(rest, sort_keys=True).encode())
  return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="python -m data_pipelines.build_corpus",
    description="Packs folders of images into ArrayRecord shards.",
  )
  parser.add_argument(
    "--input", action="append", required=True, help="a folder; repeatable"
  )
  parser.add_argument("--output", required=True, help="directory to make")
  parser.add_argument("--shard_size", type=int, default=DEFAULT_SHARD_SIZE)
  parser.add_argument(
    "--attribution",
    help="JSON: {name: {source, licence, attribution}}",
  )
  given = parser.parse_args(arguments)
  try:
    manifest, is_new = build_corpus(
      given.input,
      given.output,
      shard_size=given.shard_size,
      attribution=given.attribution,
    )
  except (ValueError, OSError) as error:
    print(f"build_corpus: {error}", file=sys.stderr)
    return 2
  state = "done" if is_new else "already complete"
  print(f"{given.output}: {state}: {summary(manifest)}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
