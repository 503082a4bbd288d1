"""Corpora from and on gs://, over HTTP on this machine."""

import os
import subprocess
import sys

import pytest

from tests.data_pipelines import corpora, fake_bucket

pytest.importorskip("gcsfs", reason="needs gcsfs")


def _run(bucket, module, *arguments):
  return subprocess.run(
    [sys.executable, "-m", f"data_pipelines.{module}", *arguments],
    env={**os.environ, **bucket.environment()},
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_a_corpus_is_built_from_a_bucket_and_verified_in_one(
  photo_folder, tmp_path
):
  (photo_folder / "1.json").write_text('{"licence": "MIT"}')
  root, output = tmp_path / "bucket", tmp_path / "output"
  root.mkdir()
  corpora.tar_folder(photo_folder, root / "0.tar")
  local = corpora.pack_folder(photo_folder, root / "local", shard_size=3)
  with fake_bucket.FakeBucket(root) as bucket:
    done = _run(
      *(bucket, "build_corpus", "--input", "gs://pictures/*.tar"),
      *("--output", output, "--shard_size", "3", "--workers", "1"),
    )
    assert done.returncode == 0, done.stderr
    for path in local.iterdir():
      is_same = path.read_bytes() == (output / path.name).read_bytes()
      assert is_same == (path.name != "manifest.json")
    (local / "shard-00001-of-00003.array_record").write_bytes(b"")
    done = _run(
      bucket, "verify_corpus", "--data=gs://pictures/local", "--workers=0"
    )
  assert done.returncode == 1
  damages = done.stdout.splitlines()
  assert len(damages) == 2 and "num_bytes is 0" in damages[0]
  assert all(d.startswith("shard-00001-of-00003") for d in damages)
