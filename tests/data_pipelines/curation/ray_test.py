"""Three nodes of Ray make the bytes that one process makes."""

import pytest

from tests.data_pipelines.curation import kills, made

pytest.importorskip("ray", reason="Ray is installed by hand: ray<2.60")


@pytest.mark.slow
def test_after_a_kill_of_a_node_ray_makes_the_same(tmp_path, monkeypatch):
  pool = tmp_path / "pool"
  made.write_pool(pool, range(16))
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
  assert hit.startswith("node ")
  assert made.contents(tmp_path / "out") == made.contents(tmp_path / "expected")
