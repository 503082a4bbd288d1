"""The manifest of a corpus: which shards, how large, with which hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Iterator, Mapping, Sequence

from data_pipelines.common import storage
from data_pipelines.corpus import records

NAME = "manifest.json"
FORMAT = "sapiens2_jax corpus"
_ENTRIES = {
  "num_records": int,
  "num_bytes": int,
  "content_hash": str,
  "inputs_hash": str,
  "shards": list,
  "rejected": dict,
  "duplicates": dict,
  "manifest_hash": str,
}
ENTRIES = frozenset({"format", "version", *_ENTRIES})  # Always there.
_LISTED_ENTRIES = {"count": int, "file": str, "sha256": str}


@dataclasses.dataclass(frozen=True)
class ShardEntry:
  """What the manifest says of one shard.

  Attributes:
    file: name of the shard's file.
    num_records: in the shard.
    num_bytes: of the shard's file.
    sha256: of the shard's file, lower-case hex.
    index: name of the index's file.
    index_sha256: of the index's file, lower-case hex.
  """

  file: str
  num_records: int
  num_bytes: int
  sha256: str
  index: str
  index_sha256: str


_SHARD_ENTRIES = typing.get_type_hints(ShardEntry)


def check_scheme(path: str | os.PathLike) -> None:
  """Raises ValueError for a URL that array_record cannot read."""
  if storage.is_remote(path) and not os.fspath(path).startswith("gs://"):
    raise ValueError(
      f"{path}: ArrayRecord shards can be read from a disk or gs:// only."
    )


def is_corpus(directory: str | os.PathLike) -> bool:
  """Whether a directory holds a finished corpus."""
  return storage.exists(storage.join(directory, NAME))


def read_manifest(directory: str | os.PathLike) -> dict:
  """Reads a manifest, checks its form and that it is as it was written.

  Returns:
    The JSON object; docs/corpus.md describes it.

  Raises:
    ValueError: it cannot be read, is of another format, too new, an entry is
      missing or of the wrong type, or what it says of itself (sums, its own
      hash) is not so; the message names file and entry.
  """
  manifest = read_form(directory)
  if wrong := list(find_wrong_sums(manifest)):
    raise ValueError(
      f"{storage.join(directory, NAME)}: {'; '.join(wrong)}; it is not as it "
      "was written: copy the corpus again, or build it again."
    )
  return manifest


def read_form(directory: str | os.PathLike) -> dict:
  """As `read_manifest`, but believes what the manifest says of itself."""
  path = storage.join(directory, NAME)
  try:
    manifest = json.loads(storage.read_bytes(path))
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(f"{path}: cannot be read: {error}") from error
  found = manifest.get("format") if isinstance(manifest, dict) else None
  if found != FORMAT:
    raise ValueError(f"{path}: format={found!r}, expected {FORMAT!r}.")
  records.check_version(manifest.get("version"), path)
  _check(manifest, _ENTRIES, path)
  for number, shard in enumerate(manifest["shards"]):
    if not isinstance(shard, dict):
      raise ValueError(f"{path}: shards[{number}] is not an object.")
    _check(shard, _SHARD_ENTRIES, f"{path}: shards[{number}]")
  for name in ("rejected", "duplicates"):
    _check(manifest[name], _LISTED_ENTRIES, f"{path}: {name}")
  _check(manifest["rejected"], {"by_reason": dict}, f"{path}: rejected")
  reasons = manifest["rejected"]["by_reason"]
  _check(reasons, dict.fromkeys(reasons, int), f"{path}: rejected: by_reason")
  return manifest


def find_wrong_sums(manifest: Mapping) -> Iterator[str]:
  """What a manifest says of itself and is not so, sentence by sentence."""
  shards, rejected = manifest["shards"], manifest["rejected"]
  sums = {
    "num_records": sum(shard["num_records"] for shard in shards),
    "num_bytes": sum(shard["num_bytes"] for shard in shards),
    "content_hash": hash_shards(shards),
  }
  for name, value in sums.items():
    if manifest[name] != value:
      yield f"{name} is {manifest[name]}, its shards say {value}"
  if rejected["count"] != sum(rejected["by_reason"].values()):
    yield "rejected: count is not the sum of by_reason"
  if (found := manifest["manifest_hash"]) != (own := hash_manifest(manifest)):
    yield f"manifest_hash is {found}, its entries say {own}"


def hash_shards(shards: Sequence[dict]) -> str:
  """The content hash: SHA-256 over the shards' SHA-256 in hex, in order."""
  hashes = "".join(shard["sha256"] for shard in shards)
  return hashlib.sha256(hashes.encode()).hexdigest()


def hash_manifest(manifest: dict) -> str:
  """SHA-256 of all entries but `manifest_hash`, as JSON with sorted keys."""
  entries = {k: v for k, v in manifest.items() if k != "manifest_hash"}
  text = json.dumps(entries, sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()


def summarize(manifest: Mapping) -> str:
  """Says in one line what a corpus holds."""
  return (
    f"{manifest['num_records']} images in {len(manifest['shards'])} shards, "
    f"{manifest['num_bytes'] / 1e6:.1f} MB, "
    f"{manifest['rejected']['count']} rejected, "
    f"{manifest['duplicates']['count']} duplicates{_summarize_others(manifest)}"
  )


def _summarize_others(manifest: Mapping) -> str:
  others = manifest.get("left_out", {})
  counts = ", ".join(f"{count} {kind}" for kind, count in others.items())
  return f", left out {counts}" if others else ""


def _check(found: dict, expected: dict, what: str) -> None:
  for name, kind in expected.items():
    if name not in found:
      raise ValueError(f"{what}: entry {name} is missing.")
    if type(found[name]) is not kind:
      raise ValueError(
        f"{what}: entry {name} is {type(found[name]).__name__}, expected "
        f"{kind.__name__}."
      )
