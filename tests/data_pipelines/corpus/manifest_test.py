import json

import pytest

from data_pipelines import build_corpus
from data_pipelines.corpus import manifest


@pytest.fixture
def corpus(photo_folder, tmp_path):
  build_corpus.build_corpus([photo_folder], tmp_path / "corpus", shard_size=3)
  return tmp_path / "corpus"


def _rewrite(corpus, change):
  path = corpus / "manifest.json"
  found = json.loads(path.read_text())
  change(found)
  path.write_text(json.dumps(found))


def test_a_corpus_is_a_directory_with_a_manifest(corpus, tmp_path):
  assert manifest.is_corpus(corpus) and manifest.is_corpus(f"file://{corpus}")
  assert not manifest.is_corpus(tmp_path)


def test_unknown_entries_and_newer_minor_versions_are_ignored(corpus):
  changed = {**manifest.read_manifest(corpus), "version": "1.7", "more": {}}
  changed["manifest_hash"] = manifest.hash_manifest(changed)
  _rewrite(corpus, lambda found: found.update(changed))
  assert manifest.read_manifest(corpus) == changed


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda m: m.update(format="other"), "format='other', expected"),
    (lambda m: m.update(version="2.3"), "version=2.3 is newer"),
    (lambda m: m.pop("shards"), "entry shards is missing"),
    (lambda m: m.pop("manifest_hash"), "entry manifest_hash is missing"),
    (lambda m: m.update(num_records="7"), "num_records is str, expected int"),
    (lambda m: m["shards"].append(3), r"shards\[3\] is not an object"),
    (lambda m: m["shards"][1].pop("sha256"), r"shards\[1\]: entry sha256 is m"),
    (lambda m: m["rejected"].pop("by_reason"), "rejected: entry by_reason"),
    (
      lambda m: m["rejected"].update(by_reason={"broken": "1"}),
      "rejected: by_reason: entry broken is str, expected int",
    ),
    (lambda m: m["duplicates"].pop("file"), "duplicates: entry file is miss"),
  ],
)
def test_a_wrong_entry_is_named(corpus, change, message):
  _rewrite(corpus, change)
  with pytest.raises(ValueError, match=f"manifest.json: .*{message}"):
    manifest.read_manifest(corpus)


@pytest.mark.parametrize("text", ["", "{", "[]", "\ud800"])
def test_an_unreadable_manifest_is_named(corpus, text):
  path = corpus / "manifest.json"
  path.write_bytes(text.encode("utf-8", "surrogatepass"))
  with pytest.raises(ValueError, match="manifest.json: "):
    manifest.read_manifest(corpus)
