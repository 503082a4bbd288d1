import pathlib

import pytest

from data_pipelines import sources
from data_pipelines.common import tars
from data_pipelines.open_source import open_field, open_source, places
from tests.data_pipelines import corpora


@pytest.fixture
def specs(photo_folder, tmp_path, monkeypatch):
  """photos, corpus, photos.tar and other.tar in the working directory."""
  corpora.pack_folder(photo_folder, tmp_path / "corpus", shard_size=3)
  corpora.tar_folder(photo_folder, tmp_path / "photos.tar")
  corpora.tar_folder(photo_folder / "more", tmp_path / "other.tar")
  monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
  "spec", ["photos", "corpus", "corpus/", "photos.tar", "p*.tar", "./photos"]
)
def test_a_dataset_of_any_kind_is_found_out(specs, photo_folder, spec):
  wanted = corpora.read_all(sources.FolderSource(photo_folder))
  assert corpora.read_all(open_source(spec)) == wanted
  opened = open_source(pathlib.Path(spec))
  assert corpora.read_all(opened) == wanted


def test_a_glob_takes_its_tars_sorted(specs):
  source = open_source("*.tar")
  assert [source.location(index) for index in (0, 1)] == [
    *("other.tar", "photos.tar")
  ]
  assert len(source) == 8


@pytest.mark.parametrize(
  "text, sizes, weights",
  [
    ("corpus", (7,), (1,)),
    ("corpus;other.tar", (7, 1), (7, 1)),
    (" corpus ; other.tar ; ", (7, 1), (7, 1)),
    ("corpus,3;other.tar,1", (7, 1), (3, 1)),
    ("corpus,0.3;other.tar,0.1", (7, 1), (3, 1)),
    ("corpus,1/3;photos,1/2", (7, 7), (2, 3)),
    ("corpus, 1e-3 ;*.tar,1e-2;photos,1", (7, 8, 7), (1, 10, 1000)),
  ],
)
def test_datasets_are_mixed_by_exactly_their_weights(
  specs, text, sizes, weights
):
  mixture = open_source(text)
  assert (mixture.sizes, mixture.weights) == (sizes, weights)


def test_signs_in_the_name_of_a_dataset_that_exists_are_no_grammar(
  specs, photo_folder
):
  photo_folder.rename("photos [2], old*")
  assert len(open_source("photos [2], old*")) == 7
  assert open_source("photos [2], old*,2;corpus,4").weights == (1, 2)


@pytest.mark.parametrize(
  "text, message",
  [
    ("", "names no dataset"),
    (" ; ", "names no dataset"),
    ("nowhere", "nowhere: no such directory; expected a corpus"),
    ("corpus;nowhere", "nowhere: no such directory"),
    ("corpus,nowhere", "corpus,nowhere: no such directory"),
    ("n*.tar", "n.*tar: matches no file that ends in .tar"),
    ("corp*", "matches no file that ends in .tar"),
    ("empty", "empty: holds no images .*and is no corpus"),
    ("empty.tar", "empty.tar: holds no images"),
    ("corpus,2;photos", "photos: other datasets have weights, this has none"),
    ("corpus,2;photos,0", "source 1: weight 0 must be above 0"),
    ("corpus,-1", "source 0: weight -1 must be above 0"),
    ("nonsense://bucket", "nonsense"),
  ],
)
def test_what_cannot_be_opened_is_named_with_what_was_expected(
  specs, text, message
):
  pathlib.Path("empty").mkdir()
  pathlib.Path("empty.tar").write_bytes(corpora.make_tar({}))
  with pytest.raises(ValueError, match=message):
    open_source(text)


def test_a_dataset_that_is_damaged_is_named(specs):
  pathlib.Path("photos.tar").write_bytes(b"\x1f\x8b compressed" * 100)
  with pytest.raises(tars.TarError, match="photos.tar: .*uncompressed tar"):
    open_source("corpus;photos.tar")
  with pytest.raises(sources.ShardReadError, match="none.tar: .*No such file"):
    open_source("none.tar")


def test_a_field_of_a_config_is_named_in_its_error(specs):
  assert len(open_field("data.path", "photos")) == 7
  with pytest.raises(ValueError) as caught:
    open_field("data.path", "corpus;nowhere")
  assert str(caught.value).startswith("data.path=corpus;nowhere: nowhere: no")


def test_signs_of_specs_may_be_in_paths(specs):
  names = ["a;b", "a,3", "c,d;e,2"]
  for name in names:
    pathlib.Path(name).symlink_to("photos")
    assert len(open_source(name)) == 7
  assert open_source("a,3;corpus").sizes == (7, 7)
  weighted = open_source("a,3,2;corpus,1")
  assert (weighted.sizes, weighted.weights) == ((7, 7), (2, 1))
  with pytest.raises(ValueError, match='x: no such directory.*";" separates'):
    open_source("x;y")


@pytest.mark.parametrize("root", ["tfds", "tfds/humans"])
def test_a_tfds_root_says_which_directory_to_write(specs, root):
  for version in ("1.0.0", "1.1.0"):
    place = pathlib.Path("tfds/humans", version)
    place.mkdir(parents=True)
    (place / "dataset_info.json").write_text("{}")
  message = f"{root}: holds TFDS .* such as tfds/humans/1.1.0$"
  with pytest.raises(ValueError, match=message):
    open_source(root)


@pytest.mark.parametrize(
  "spec", ["photos", "corpus", "photos.tar", "photos;other.tar"]
)
def test_other_contents_have_another_identity(
  specs, photo_folder, spec, encode, smooth_photo
):
  first = open_source(spec).identity()
  assert first == open_source(spec).identity()
  (photo_folder / "0new.png").write_bytes(encode(smooth_photo(61, 43)))
  corpora.pack_folder(photo_folder, "corpus_of_more", shard_size=3)
  corpora.tar_folder(photo_folder, pathlib.Path("photos.tar"))
  pathlib.Path("corpus").rename("corpus_before")
  pathlib.Path("corpus_of_more").rename("corpus")
  second = open_source(spec).identity()
  assert len({first, second}) == 2


def test_weights_are_part_of_the_identity_and_order_too(specs):
  given = ["photos;corpus", "corpus;photos", "photos,1;corpus,3"]
  assert len({open_source(spec).identity() for spec in given}) == 3


def test_places_are_those_of_the_datasets_however_they_are_written(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "odd;1,2").mkdir()
  both = {f"{tmp_path}/a", f"{tmp_path}/b"}
  assert places("a/,7;./b,1") == places(f"{tmp_path}/b; a") == both
  assert places("odd;1,2") == {f"{tmp_path}/odd;1,2"}
  assert places("gs://x/a/") == {"gs://x/a"}
