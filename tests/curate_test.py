"""The command `curate`: its config becomes settings, mistakes are named."""

import pytest

from data_pipelines.curation import deciding
from data_pipelines.curation.photographs import judging, near
from sapiens2_jax import config as config_lib
from sapiens2_jax import curate, validation
from tests.interop import samples
from tests.interop.samples import TOY


def load(*overrides, argument="size=full"):
  return config_lib.load_config(
    f"experiments/curation.py:{argument}",
    list(overrides),
    lambda config: validation.validate(config, 1, "curation"),
  )


def test_fields_of_a_scorer_are_limits_of_its_columns():
  settings = curate.make_settings(load("quality.min_short_side=200"))
  first, later = ([s.name for s in group] for group in settings.passes)
  assert first == ["quality", "hashes", "person"]
  assert later == ["face", "mask", "render", "safety", "text"]
  assert deciding.Limit("person_short_side", low=384) in settings.limits
  assert deciding.Limit("quality_short_side", low=200) in settings.limits
  assert deciding.Limit("quality_brightness", 10, 245) in settings.limits
  assert settings.best == ("num_pixels", "quality_sharpness", "num_bytes")
  assert settings.takedown == frozenset()


def test_a_toy_needs_no_models_and_the_others_know_their_folder(tmp_path):
  settings = curate.make_settings(load(argument="size=toy"))
  assert len(settings.passes) == 1
  for scorer in settings.passes[0]:
    scorer.load()
  config = load(f"scorers.models={tmp_path}")
  with pytest.raises(ValueError, match=f"{tmp_path}.*no such model"):
    curate.check_models(config)
  curate.check_models(load(argument="size=toy"))
  full = curate.make_settings(config)
  for scorer in (*full.passes[0][2:], *full.passes[1]):
    with pytest.raises(ValueError, match=f"{tmp_path}.*no such model"):
      scorer.load()


def test_limits_are_those_that_were_measured():
  limits = {
    limit.column: limit for limit in curate.make_settings(load()).limits
  }
  assert limits["person_score"].low == judging.MIN_PERSON
  assert limits["render_photo_probability"].low == judging.MIN_PHOTO
  assert limits["text_share"].high == judging.MAX_TEXT
  assert limits["safety_nsfw"].high == judging.MAX_NSFW
  config = load()
  assert config.duplicates.max_distance == near.MAX_DISTANCE
  assert config.duplicates.min_pdq_quality == near.MIN_QUALITY


def test_mistakes_in_a_config_are_listed():
  with pytest.raises(config_lib.ConfigError) as caught:
    load("quality.min_shortside=1", "work.batch_size=0")
  assert "did you mean quality.min_short_side?" in str(caught.value)
  assert "work.batch_size=0" in str(caught.value)


def test_a_scorer_that_is_not_there_is_named():
  with pytest.raises(ValueError, match="unknown scorers.first 'beauty'"):
    curate.make_settings(load("scorers.first=('beauty',)"))


def test_embeddings_are_of_a_file_or_of_a_checkpoint(tmp_path):
  onnx = tmp_path / "model.onnx"
  onnx.write_bytes(b"read later")
  ours = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  for model, kind in ((onnx, "EmbeddingScorer"), (ours, "CheckpointScorer")):
    settings = curate.make_settings(
      load(
        f"embedding.model={model}",
        "duplicates.min_similarity=0.9",
        "sampling.target=5",
      )
    )
    (scorer,) = settings.passes[-1]
    assert type(scorer).__name__ == kind and scorer.name == "embedding"
    assert settings.embedding == settings.near.embedding == "embedding_vector"
    assert settings.near.compares_vectors


@pytest.mark.parametrize(
  "field", ["duplicates.min_similarity", "sampling.target", "sampling.cap"]
)
def test_what_needs_embeddings_says_so(field):
  with pytest.raises(ValueError, match=f"{field}=1.* needs embeddings"):
    curate.make_settings(load(f"{field}=1"))


def test_a_takedown_list_is_hashes_and_remarks(tmp_path):
  path = tmp_path / "list.txt"
  path.write_text(f"# asked for\n\n{'A' * 64}  # by mail\n{'0' * 64}\n")
  found = curate.read_takedown(str(path))
  assert found == {"a" * 64, "0" * 64}
  path.write_text(f"{'0' * 64}\nphoto.jpg\n")
  with pytest.raises(ValueError, match="line 2: 'photo.jpg' is no SHA-256"):
    curate.read_takedown(str(path))
