import json

import numpy as np
import pytest

from data_pipelines import vocabulary
from sapiens2_jax.tasks import name_sets
from sapiens2_jax.tasks.pose import keypoint_sets
from sapiens2_jax.tasks.segmentation import class_sets

KNOWN = vocabulary.keypoints()
BODY17 = [KNOWN["names"][i] for i in KNOWN["groups"]["body17"]]
DOG = {
  "names": ["snout", "earLeft", "earRight", "paw_fl", "paw_fr", "tail"],
  "pairs": [["paw_fl", "paw_fr"]],
  "middle": ["snout", "tail"],
  "sigmas": dict.fromkeys(
    ["snout", "earLeft", "earRight", "paw_fl", "paw_fr", "tail"], 0.05
  ),
}


def write(path, content):
  text = content if isinstance(content, str) else json.dumps(content)
  path.write_text(text, encoding="utf-8-sig")
  return str(path)


def pairs_of(content):
  found = name_sets.parse(content)
  return {(found.names[a], found.names[b]) for a, b in found.pairs}


def test_text_of_known_names_has_the_pairs_of_the_vocabulary(tmp_path):
  names = BODY17[::-1]
  text = "# mine\n" + "\n".join(f"  {name} " for name in names) + "\n\n"
  content = keypoint_sets.resolve(write(tmp_path / "k.txt", text))
  assert name_sets.parse(content).names == tuple(names)
  assert ("right_ankle", "left_ankle") in pairs_of(content)
  assert len(pairs_of(content)) == 8
  # It needs the file no more, and means the same.
  assert keypoint_sets.resolve(content) == content


def test_any_part_of_the_vocabulary_flips_as_the_whole():
  # Numbers in some names change, too, and some tell no side.
  whole = keypoint_sets.make("")
  rng = np.random.default_rng(0)
  for _ in range(5):
    chosen = set(rng.choice(308, 40, replace=False).tolist())
    chosen |= {KNOWN["flip_indices"][i] for i in chosen}
    order = rng.permutation(sorted(chosen))
    names = [KNOWN["names"][i] for i in order]
    found = keypoint_sets.make(
      keypoint_sets.resolve(json.dumps({"names": names}))
    )
    for number, place in enumerate(order):
      mirrored = names[found.flip_indices[number]]
      assert mirrored == KNOWN["names"][whole.flip_indices[place]]
    np.testing.assert_array_equal(found.sigmas, whole.sigmas[order])


def test_pairs_that_names_tell_are_found_and_others_are_given(tmp_path):
  content = keypoint_sets.resolve(write(tmp_path / "dog.json", DOG))
  assert pairs_of(content) == {("earLeft", "earRight"), ("paw_fl", "paw_fr")}
  known = keypoint_sets.make(content)
  assert known.flip_indices.tolist() == [0, 2, 1, 4, 3, 5]
  assert list(known.sources) == [6]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"pairs": []}, "no side is known of paw_fl, paw_fr; write"),
    ({"middle": ["snout"]}, "no side is known of tail"),
    ({"names": [*DOG["names"], "hipLeft"]}, r"hipLeft \(hipRight\); add"),
    (
      {"pairs": [["paw_fl", "paw_fr"], ["earLeft", "snout"]]},
      "'snout' is in a pair and in the middle",
    ),
    (
      {"pairs": [["paw_fl", "paw_fr"], ["earLeft", "paw_fl"]]},
      "'paw_fl' must have one partner",
    ),
    ({"pairs": [["earRight", "nobody"]]}, "two of the names each"),
    ({"pairs": [[{}, []]]}, "two of the names each"),
    ({"middle": [*DOG["middle"], "earLeft"]}, "'earLeft' has a side"),
    ({"names": [*DOG["names"], "TAIL"]}, "there twice: tail, TAIL"),
    ({"names": [*DOG["names"], 5]}, "must be a list of texts"),
    ({"sigmas": {"tail": 0.1}}, "sigmas': of snout, .* are missing"),
    ({"sigmas": DOG["sigmas"] | {"tail": 0}}, "of tail must be numbers"),
    ({"skeleton": [["tail", "nose"]]}, "must be a list of .name, name"),
    ({"skeletons": []}, "'skeletons' is no key of it; did you mean skeleton"),
    ({"labels": "mine"}, "must be one of named, own"),
    ({"labels": "named"}, "none of the names is known"),
    (
      {"names": [*DOG["names"], "neck"]},
      'are known, snout, .* not. If .* "labels": "own"',
    ),
  ],
)
def test_what_would_train_on_wrong_labels_is_refused(tmp_path, change, message):
  path = write(tmp_path / "dog.json", DOG | change)
  with pytest.raises(ValueError, match=f"dog.json: .*{message}"):
    keypoint_sets.resolve(path)


def test_a_known_name_pairs_with_no_other(tmp_path):
  names = ["left_eye", "right_eye", "left_ear", "right_ear"]
  wrong = [["left_eye", "right_ear"], ["left_ear", "right_eye"]]
  path = write(tmp_path / "k.json", {"names": names, "pairs": wrong})
  with pytest.raises(ValueError, match="but its name with 'right_eye'"):
    keypoint_sets.resolve(path)
  names = ["nose", "neck"]
  path = write(tmp_path / "k.json", {"names": names, "pairs": [names]})
  with pytest.raises(ValueError, match="'nose' is in the middle of people"):
    keypoint_sets.resolve(path)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "0 names, expected 1 to 255"),
    ("[[[", "cannot read"),
    ("[" * 100_000, "cannot read"),
    ("[1]", "expected an object"),
    ("hair\nbackground", "must be Background, not hair"),
    ("background\nhair\nhat", 'are known, hat not.* "labels": "own"'),
    ("background\nhair\nface", "face not; did you mean face_neck"),
    ("background\nleft_hand", r"left_hand \(Right_Hand\)"),
    ({"names": ["Background", "a"], "weights": {"b": 1}}, "keys are names"),
    ({"names": ["Background", "a"], "weights": {"a": -1}}, "numbers from 0"),
    ({"names": ["Background", "a"], "colors": {"a": [1]}}, "0 to 255"),
  ],
)
def test_files_of_classes_that_are_none_are_named(tmp_path, content, message):
  with pytest.raises(ValueError, match=message):
    class_sets.resolve(write(tmp_path / "classes", content))
  with pytest.raises(ValueError, match="cannot read .*gone"):
    class_sets.resolve(str(tmp_path / "gone"))
