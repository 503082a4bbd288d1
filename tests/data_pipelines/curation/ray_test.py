"""Three nodes of Ray make the bytes that one process makes."""

import shutil

import pytest

from tests.data_pipelines.curation import kills, made

pytest.importorskip("ray", reason="Ray is installed by hand: ray<2.60")


@pytest.mark.slow
def test_after_kills_and_poison_ray_makes_the_same(tmp_path, monkeypatch):
  pool, poisoned = tmp_path / "pool", tmp_path / "poisoned"
  made.write_pool(pool, range(16))
  shutil.copytree(pool, poisoned)
  made.picture(9, *made.POISON).save(poisoned / "bad.png")
  for name in ("PIDS", "GROUPS"):
    (tmp_path / name).mkdir()
    monkeypatch.setenv(f"MADE_{name}", str(tmp_path / name))
  settings = made.make_settings(made.Slow())
  made.curate([pool], tmp_path / "expected", settings)
  for name in kills.SETTINGS:
    monkeypatch.setenv(name, "")  # Taken back at the end.
  with kills.cluster() as nodes:
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    case = "ray-3 node scoring"
    _, hit = kills.run_case(case, pool, tmp_path / "out", nodes)
    output = tmp_path / "of poisoned"
    kills.finish(kills.start(poisoned, output, "ray", "3", "Dies"))
  assert hit.startswith("node ")
  assert made.contents(tmp_path / "out") == made.contents(tmp_path / "expected")
  rejected = (output / "corpus" / "rejected.jsonl").read_text()
  assert '"name": "bad.png", "reason": "quarantined"' in rejected
