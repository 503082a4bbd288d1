"""Lists of checksums: any change of a listed file is found and named."""

import hashlib
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from data_pipelines.common import checksums


@pytest.fixture
def place(tmp_path):
  (tmp_path / "below").mkdir()
  (tmp_path / "a").write_bytes(b"first")
  (tmp_path / "below" / ".b").write_bytes(b"second")
  return tmp_path


def listed(place):
  return checksums.measure(place, checksums.find_files(place))


def test_files_are_listed_with_size_and_hash(place):
  found = listed(place)
  assert list(found) == ["a", "below/.b"]
  assert found["a"] == {
    "bytes": 5,
    "sha256": hashlib.sha256(b"first").hexdigest(),
  }
  assert checksums.compare(place, found) == []


def test_a_missing_a_short_and_a_changed_file_are_named(place):
  found = listed(place)
  (place / "below" / ".b").write_bytes(b"sec")
  (place / "a").write_bytes(b"fIrst")
  found["c"] = {"bytes": 1, "sha256": "0" * 64}
  problems = checksums.compare(place, found)
  assert [p.split(": ")[1][:7] for p in problems] == [
    "3 bytes",
    "missing",
    "SHA-256",
  ]
  assert str(place / "below" / ".b") in problems[0]


@hypothesis.settings(
  max_examples=30,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(bit=st.integers(0, 8 * 6 - 1))
def test_any_flipped_bit_is_found(place, bit):
  path = place / "below" / ".b"
  path.write_bytes(b"second")
  found = listed(place)
  data = bytearray(b"second")
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)
  (problem,) = checksums.compare(place, found)
  assert "SHA-256" in problem


@pytest.mark.parametrize(
  "text",
  [
    *("", "[]", "{}", '{"files": {"a": 1}}', '{"files": {"a": {"bytes": 1}}}'),
    '{"files": {"a": {"bytes": 1, "wha256": "0"}}}',
    '{"files": {"a": {"bytes": "1", "sha256": "0"}}}',
    '{"files": {"a": {"bytes": 1, "sha256": 0}}}',
    '{"files": {"a": {"bites": 1, "sha256": "0"}}}',
  ],
)
def test_a_damaged_list_is_named(place, text):
  (place / "sums.json").write_text(text)
  with pytest.raises(ValueError, match="sums.json: damaged"):
    checksums.read(place / "sums.json")


def test_a_list_is_read_as_it_was_written(place):
  path = place / "sums.json"
  checksums.write(path, listed(place) | {})
  assert checksums.read(path)["a"]["bytes"] == 5
  assert json.loads(path.read_text())["version"] == 1
