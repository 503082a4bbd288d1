import chex
import jax

from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.training import optimizer, starting
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.validation import read_config
from tests import tiny_task
from tests.interop import runs, samples


def test_a_task_starts_from_an_encoder_and_a_random_head(tmp_path, capsys):
  file = samples.write(
    tmp_path / "toy.safetensors", samples.arrays(samples.TOY)
  )
  config = tiny_task.load_config("model.size=toy", f"model.init_from={file}")
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  objective = build_objective(config)
  tx = optimizer.make_optimizer(config.optim)
  abstract = state_lib.abstract_state(config, objective, tx, mesh)
  drawn = state_lib.init_state(config.seed, objective, tx, abstract)
  checkpointer = Checkpointer(str(tmp_path / "run"), config, read_config)
  state, _ = starting.restore_or_init(
    objective, checkpointer, tx, abstract, load_pretrained
  )
  checkpointer.close()
  chex.assert_trees_all_equal(state.params["encoder"], runs.toy_params())
  chex.assert_trees_all_equal(state.params["head"], drawn.params["head"])
  assert state.teacher_state == {}
  assert f"encoder from {file}" in capsys.readouterr().out
