"""Training runs on TPUs whose speed its makers have published.

Each was measured by Google and stands in the repository that `source` names;
the flags are those of its script, less two that libtpu takes only from its
environment (`xla_sc_disjoint_spmem`, `2a886c8_chip_config_name`) and, but for
v5e, those of all-gathers fused with products, which libtpu 0.0.52 refuses on
other chips ("continuation fusion").
"""

import dataclasses

from benchmarks.decoder import Remat, Shape

_MAXTEXT = "github.com/AI-Hypercomputer/maxtext, "
_RECIPES = "github.com/AI-Hypercomputer/tpu-recipes, training/"

Value = bool | int | str


@dataclasses.dataclass(frozen=True)
class Run:
  """A published run.

  Attributes:
    name: model and number of chips.
    topology: for `topology_devices`.
    shape: of the model.
    batch: sequences a device.
    num_tokens: of a sequence.
    remat: of each layer.
    source: file, its commit, and what stands there.
    seconds: of a step, where the source says it.
    tflops: model TFLOP/s a chip, where it says that instead.
    tensor: devices that share a layer; `fsdp` takes the rest.
    block: side of the attention kernel's tiles.
    compute_block: keys that are taken at once, forward and backward.
    is_fused: one backward kernel of attention, not two.
    head_minor: whether heads' width lies last in queries, keys and values.
    small_moment: AdamW's first moment in bfloat16.
    vocab_parts: of the loss, see `decoder.Program`; four also where the source
      has one and this compiler finds no room for all logits. The products that
      are then computed again are 1 % of a step.
    flags: of the compiler.
  """

  name: str
  topology: str
  shape: Shape
  batch: int
  num_tokens: int
  remat: Remat
  source: str
  seconds: float | None = None
  tflops: float | None = None
  tensor: int = 1
  block: int = 512
  compute_block: tuple[int, int] = (512, 512)
  is_fused: bool = False
  head_minor: tuple[bool, bool, bool] = (True, True, True)
  small_moment: bool = False
  vocab_parts: int = 1
  flags: dict[str, Value] = dataclasses.field(default_factory=dict)

  @property
  def step_seconds(self) -> float:
    """As published, or from the published FLOP/s.

    Those count the whole square of attention, not its causal half, as the
    scripts did until July 2025 (maxtext_utils.py).
    """
    if self.seconds:
      return self.seconds
    return self.counted_flops / (self.tflops * 1e12)

  @property
  def counted_flops(self) -> float:
    """Of a step on one device, as the source counts them."""
    s, n = self.shape, self.num_tokens
    heads = s.num_heads * s.head_dim
    grouped = (s.num_heads + 2 * s.num_kv_heads) * s.head_dim
    layer = s.embed_dim * (3 * s.hidden_dim + grouped + heads) + 2 * n * heads
    weights = s.num_layers * layer + s.embed_dim * s.vocab_size
    return 6 * self.batch * n * weights


_16B = Shape(4096, 32, 64, 64, 28672, 32000)
_32B = Shape(8192, 32, 64, 64, 28672, 32000)
_64B = Shape(8192, 64, 64, 64, 28672, 32000)
_128B = Shape(8192, 64, 128, 128, 57344, 32000)
_LLAMA_8B = Shape(4096, 32, 32, 8, 14336, 128256)
_LLAMA_70B = Shape(8192, 80, 64, 8, 28672, 128256)
_LLAMA_405B = Shape(16384, 126, 128, 8, 53248, 128256)

_FULL = Remat(saved=("layer_input",))
_QKV = ("query", "key", "value")
# "minimal", and the same without one product, where this compiler finds no room
# for all; computing it again adds 2 % to the products of a step.
_PRODUCTS = Remat(saved=(*_QKV, "out", "gate", "up"))
_MOST_PRODUCTS = Remat(saved=(*_QKV, "gate", "up"))

_OVERLAP = {
  "xla_tpu_enable_data_parallel_all_reduce_opt": True,
  "xla_tpu_data_parallel_opt_different_sized_ops": True,
  "xla_enable_async_all_gather": True,
}
_V5E = _OVERLAP | {
  "xla_tpu_enable_async_collective_fusion": True,
  "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
  "xla_tpu_enable_async_collective_fusion_multiple_steps": True,
  "xla_tpu_overlap_compute_collective_tc": True,
}
_V5P = _OVERLAP | {
  "xla_tpu_megacore_fusion_allow_ags": False,
  "xla_enable_async_collective_permute": True,
  "xla_tpu_enable_ag_backward_pipelining": True,
}
_V6E = _OVERLAP | {
  "xla_tpu_scoped_vmem_limit_kib": 98304,
  "xla_tpu_use_minor_sharding_for_major_trivial_input": True,
  "xla_tpu_relayout_group_size_threshold_for_reduce_scatter": 1,
  "xla_tpu_assign_all_reduce_scatter_layout": True,
  "xla_tpu_enable_all_experimental_scheduler_features": True,
  "xla_tpu_enable_scheduler_memory_pressure_tracking": True,
  "xla_tpu_host_transfer_overlap_limit": 24,
  "xla_tpu_aggressive_opt_barrier_removal": "ENABLED",
  "xla_lhs_prioritize_async_depth_over_stall": "ENABLED",
  "xla_tpu_enable_ag_backward_pipelining": True,
  "xla_should_allow_loop_variant_parameter_in_chain": "ENABLED",
  "xla_should_add_loop_invariant_op_in_chain": "ENABLED",
  "xla_max_concurrent_host_send_recv": 100,
  "xla_tpu_scheduler_percent_shared_memory_limit": 100,
  "xla_latency_hiding_scheduler_rerun": 2,
}
_V6E_SPARSE_CORES = _V6E | {
  "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": False,
  "xla_tpu_enable_sparse_core_collective_offload_all_reduce": True,
  "xla_tpu_enable_all_reduce_offload_tracing": True,
  "xla_tpu_use_tc_device_shape_on_sc": True,
  "xla_sc_enable_instruction_fusion": False,
  "xla_sc_disable_megacore_partitioning": True,
  "xla_jf_spmd_threshold_for_windowed_einsum_mib": 1_000_000,
}
_TPU7X = {
  "xla_tpu_scoped_vmem_limit_kib": 61440,
  "xla_tpu_bf16_emission_mode": "NATIVE_EMISSION",
  "xla_tpu_enable_sparse_core_collective_offload_all_reduce": True,
  "xla_tpu_use_single_sparse_core_for_all_gather_offload": True,
}
_TPU7X_405B = _TPU7X | {
  "xla_tpu_scoped_vmem_limit_kib": 65536,
  "xla_tpu_dvfs_p_state": 3,
  "xla_tpu_enable_sparse_core_reduce_scatter_v2": True,
  "xla_tpu_enable_sparse_core_collective_offload_all_gather": True,
  "xla_tpu_enable_sparse_core_collective_offload_2d_all_gather": True,
  "xla_tpu_enable_sparse_core_collective_offload_3d_all_gather": True,
  "xla_tpu_enable_all_gather_offload_tracing": True,
  "xla_tpu_use_tc_device_shape_on_sc": True,
  "xla_sc_disable_megacore_partitioning": True,
  "xla_tpu_enable_async_collective_fusion_fuse_all_gather": False,
  "xla_enable_async_all_gather": True,
  "xla_tpu_prefer_async_allgather_to_allreduce": True,
  "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": True,
  "xla_tpu_enable_sparse_core_offload_queuing_in_lhs": True,
  "xla_tpu_enable_ici_ar_pipelining": True,
  "xla_tpu_enable_offloading_copy_to_sparsecore": False,
  "xla_tpu_enable_sparse_core_collective_offload_nd_reduce_scatter": False,
}

_TRILLIUM = {
  "num_tokens": 8192,
  "block": 2048,
  "compute_block": (2048, 2048),
  "is_fused": True,
  "vocab_parts": 4,
}
_IRONWOOD = _TRILLIUM | {
  "head_minor": (False, False, True),
  "small_moment": True,
  "vocab_parts": 1,
}
_V5E_TABLE = _MAXTEXT + "MaxText/configs/v5e/README.md at 0ed7bd5, "
_V5P_TABLE = _MAXTEXT + "MaxText/configs/v5p/README.md at 0ed7bd5, "
_IRONWOOD_TABLE = _RECIPES + "ironwood/README.md at 0797d9c, "

RUNS = (
  Run(
    *("Llama 3.1 8B on 8", "v6e:2x4", _LLAMA_8B, 3),
    remat=Remat(offloaded=("layer_input", "out", *_QKV)),
    source=_RECIPES
    + "trillium/Llama3.1-8B-MaxText/v6e-8/README.md at 10ca5b9, "
    "3.443 s a step, JAX 0.6.1",
    seconds=3.443,
    flags=_V6E_SPARSE_CORES,
    **_TRILLIUM,
  ),
  Run(
    *("MaxText 16B on 256", "v5e:16x16", _16B, 6, 2048, _FULL),
    source=_V5E_TABLE + "61.10 % of peak; v5e/16b.sh at 0777510",
    tflops=0.6110 * 197,
    flags=_V5E,
  ),
  Run(
    *("MaxText 32B on 64", "v5p:4x4x4", _32B, 7, 2048, _MOST_PRODUCTS),
    source=_V5P_TABLE + "71.47 % of peak; v5p/32b.sh at 0d9779a",
    tflops=0.7147 * 459,
    tensor=4,
    flags=_V5P,
  ),
  Run(
    *("Llama 3.1 70B on 64", "tpu7x:4x4x4", _LLAMA_70B, 2),
    remat=Remat(saved=("layer_input", "context", *_QKV)),
    source=_IRONWOOD_TABLE + "12.20 s a step; "
    "ironwood/llama3.1-70b/8k-bf16-tpu7x-4x4x4 at 69bbb67",
    seconds=12.20,
    flags=_TPU7X,
    **_IRONWOOD,
  ),
  Run(
    *("Llama 3.1 8B on 256", "v6e:16x16", _LLAMA_8B, 4),
    remat=Remat(offloaded=("layer_input", "out", *_QKV)),
    source=_RECIPES
    + "trillium/Llama3.1-8B-MaxText/v6e-256/README.md at a9e0929, "
    "4.546 s a step, JAX 0.6.1",
    seconds=4.546,
    flags=_V6E_SPARSE_CORES,
    **_TRILLIUM,
  ),
  Run(
    *("Llama 3.1 70B on 256", "v6e:16x16", _LLAMA_70B, 5),
    remat=Remat(offloaded=("layer_input", *_QKV)),
    source=_RECIPES
    + "trillium/Llama3.1-70B-MaxText/v6e-256/README.md at 3596002, "
    "42.656 s a step, JAX 0.6.1",
    seconds=42.656,
    flags=_V6E,
    **_TRILLIUM,
  ),
  Run(
    *("MaxText 64B on 64", "v5p:4x4x4", _64B, 3, 2048, _MOST_PRODUCTS),
    source=_V5P_TABLE + "70.31 % of peak; v5p/64b.sh at 3d048f7",
    tflops=0.7031 * 459,
    tensor=4,
    flags=_V5P,
  ),
  Run(
    *("MaxText 32B on 256", "v5e:16x16", _32B, 4, 2048, _FULL),
    source=_V5E_TABLE + "66.86 % of peak; v5e/32b.sh at 0777510",
    tflops=0.6686 * 197,
    flags=_V5E,
  ),
  Run(
    *("Llama 3.1 70B on 256", "tpu7x:4x8x8", _LLAMA_70B, 2),
    remat=Remat(saved=("layer_input", "context", *_QKV)),
    source=_IRONWOOD_TABLE + "12.27 s a step; "
    "ironwood/llama3.1-70b/8k-bf16-tpu7x-4x8x8 at 451ebd9",
    seconds=12.27,
    flags=_TPU7X,
    **_IRONWOOD,
  ),
  Run(
    *("Llama 3.1 70B on 64", "v6e:8x8", _LLAMA_70B, 2),
    remat=Remat(offloaded=("layer_input", *_QKV)),
    source=_RECIPES
    + "trillium/Llama3.1-70B-MaxText/v6e-64/README.md at 3596002, "
    "18.688 s a step, JAX 0.6.1",
    seconds=18.688,
    flags=_V6E,
    **_TRILLIUM,
  ),
  Run(
    *("MaxText 64B on 256", "v5e:16x16", _64B, 2, 2048, _FULL),
    source=_V5E_TABLE + "59.90 % of peak; v5e/64b.sh at 43fce2e",
    tflops=0.5990 * 197,
    flags=_V5E,
  ),
  Run(
    *("MaxText 128B on 128", "v5p:4x4x8", _128B, 1, 2048, _PRODUCTS),
    source=_V5P_TABLE + "68.68 % of peak; v5p/128b.sh at 0777510",
    tflops=0.6868 * 459,
    tensor=8,
    flags=_V5P,
  ),
  Run(
    *("Llama 3.1 405B on 256", "tpu7x:4x8x8", _LLAMA_405B, 3),
    remat=Remat(saved=("key", "value"), offloaded=("layer_input", "down")),
    source=_IRONWOOD_TABLE + "98.34 s a step; "
    "ironwood/llama3.1-405b/8k-bf16-tpu7x-4x8x8 at 07713f4",
    seconds=98.34,
    flags=_TPU7X_405B,
    **(_IRONWOOD | {"compute_block": (1024, 512), "vocab_parts": 4}),
  ),
)
# Only shows that everything runs; nobody measured it.
SMALLEST = Run(
  *("smallest", "v5e:2x2", Shape(256, 2, 2, 1, 512, 512), 1, 256, _FULL),
  source="none: not measured",
  seconds=1.0,
  block=128,
  compute_block=(128, 128),
  flags=_V5E,
)
