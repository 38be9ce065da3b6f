"""How many bytes training takes on each GPU and of the host, from a model's dimensions and a few settings of verl.

    memory = update_memory(workload)           # UpdateMemory(weights=4095367680, gradients=4095367680, ...)
    memory.total                               # of the fullest moment of an update
    host_memory(workload)                      # what is offloaded, or the model while it is loaded, on each node

The formula counts tensors that surely exist, and no CUDA context, fragmentation or buffer of a communication library.
`docs/training.md` explains each part and names the source in verl 0.9.1.
"""

from dataclasses import dataclass

FULL = 4
"""Bytes of a number in fp32: what verl keeps parameters, gradients and Adam's moments in (`model_dtype`)."""
HALF = 2
"""Bytes of a number in bf16: what verl computes with (`mixed_precision.param_dtype`)."""
MOMENTS = 2
"""Adam's numbers for each parameter."""
FUSED_TOKENS = 512
"""Tokens whose logits exist at once with `use_fused_kernels`."""
FUSED_BYTES = 18
"""Bytes for each of their logits: one in bf16, four copies in fp32."""


@dataclass(frozen=True)
class ModelShape:
    """The dimensions of a causal language model, as numbers of elements."""

    parameters: int
    layer: int
    """Parameters of the largest layer."""
    head: int
    """Parameters of the matrix that makes logits."""
    tied: bool
    """Whether that matrix is also the embedding."""
    layers: int
    hidden: int
    intermediate: int
    """Width of the feed-forward part that one token passes through."""
    query: int
    """Width of all queries of a token."""
    key_value: int
    """Width of all keys of a token, or of all values."""
    query_norm: bool
    """Whether queries and keys are normalised."""
    vocabulary: int
    linear: int
    """Sum of inputs and outputs of the layers' linear maps: a LoRA adapter has this many parameters for each rank."""


@dataclass(frozen=True)
class Workload:
    """What the memory of an update depends on."""

    shape: ModelShape
    gpus: int
    """Of all nodes."""
    nodes: int
    tokens: int
    """Most tokens of a micro-batch on one GPU."""
    shards: int
    """GPUs that share one copy of parameters, gradients and moments."""
    stored: int = FULL
    """Bytes of a parameter, a gradient or a moment (`model_dtype`)."""
    logit_bytes: int = HALF
    """Bytes for each entry of the vocabulary and token while logits are differentiated."""
    fused_logits: bool = False
    checkpointing: bool = True
    checkpoints_offloaded: bool = False
    reshard: bool = True
    """Whether a layer's gathered parameters are freed after its forward pass."""
    adam: bool = True
    scratch: bool = True
    """Whether the optimizer takes the square roots of all second moments at once."""
    everything_on_host: bool = False
    """`offload_policy`: parameters, gradients and moments stay on the host, and the optimizer runs there."""
    weights_offloaded: bool = True
    """`param_offload`: between updates."""
    moments_offloaded: bool = True
    """`optimizer_offload`: between updates."""
    lora_rank: int = 0

    @property
    def trained(self) -> int:
        """Parameters that have a gradient."""
        return self.lora_rank * self.shape.linear if self.lora_rank else self.shape.parameters

    @property
    def parameters(self) -> int:
        """All parameters, those of an adapter included."""
        return self.shape.parameters + (self.trained if self.lora_rank else 0)


@dataclass(frozen=True)
class UpdateMemory:
    """Bytes on each GPU at one moment of an update, by part."""

    weights: int
    gradients: int
    moments: int
    gathered: int
    """Whole layers in bf16 while they are computed, and their gradients before they are shared out."""
    activations: int
    logits: int
    scratch: int = 0
    """Of the optimizer's step."""

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class HostMemory:
    """Bytes of each node's memory."""

    loading: int
    """The model while it is read, in `stored` precision."""
    offloaded: int
    """Parameters, gradients and moments that are there instead of on the GPUs."""

    @property
    def total(self) -> int:
        """The larger of the two, which do not exist at the same time."""
        return max(self.loading, self.offloaded)


def update_memory(work: Workload) -> UpdateMemory:
    """Return the memory of the fullest moment: the logits' gradient, a layer's gradient, or the optimizer's step."""
    return max((_at_logits(work), _at_layer(work), _at_step(work)), key=lambda moment: moment.total)


def resident_memory(work: Workload) -> int:
    """Return the bytes that stay on each GPU while the engine samples."""
    if work.everything_on_host:
        return 0
    weights, _, moments = _sharded(work)
    return (0 if work.weights_offloaded else weights) + (0 if work.moments_offloaded else moments)


def host_memory(work: Workload) -> HostMemory:
    """Return the memory of each node's host."""
    # verl reads a model with tied embeddings in every process, any other one in the first process only.
    readers = work.gpus // work.nodes if work.shape.tied else 1
    loading = work.stored * work.shape.parameters * readers
    moments = MOMENTS * work.stored * work.trained if work.adam else 0
    if work.everything_on_host:
        offloaded = work.stored * (work.parameters + work.trained) + moments
    else:
        weights = work.stored * work.parameters if work.weights_offloaded else 0
        offloaded = weights + (moments if work.moments_offloaded else 0)
    copies = work.gpus // work.shards
    return HostMemory(loading=loading, offloaded=offloaded * copies // work.nodes)


def _at_logits(work: Workload) -> UpdateMemory:
    """The gradient of the logits exists, and that of the matrix that made them is computed."""
    shape = work.shape
    weights, gradients, moments = _sharded(work)
    kept = _kept_activations(work) + 5 * HALF * shape.hidden * work.tokens  # the last norm and its gradient
    if work.fused_logits:
        logits = FUSED_BYTES * shape.vocabulary * min(FUSED_TOKENS, work.tokens)
    else:
        logits = work.logit_bytes * shape.vocabulary * work.tokens
    own = shape.head if not work.lora_rank else 0
    gathered = HALF * (own + (shape.head + shape.layer if work.reshard else shape.parameters))
    return UpdateMemory(weights, gradients, moments, gathered + _on_its_way(work, shape.head), kept, logits)


def _at_layer(work: Workload) -> UpdateMemory:
    """A layer has been computed again and its gradient is computed; the one before it is being shared out."""
    shape = work.shape
    weights, gradients, moments = _sharded(work)
    again = _layer_activations(shape) * work.tokens if work.checkpointing else 0
    gathered = HALF * (2 * shape.layer if work.reshard else shape.parameters)
    if not work.lora_rank:
        gathered += FULL * shape.layer
    if shape.tied:
        gathered += HALF * shape.head * ((1 if work.reshard else 0) + (0 if work.lora_rank else 1))
    kept = _kept_activations(work)
    return UpdateMemory(weights, gradients, moments, gathered + _on_its_way(work, shape.layer), kept + again, 0)


def _at_step(work: Workload) -> UpdateMemory:
    weights, gradients, moments = _sharded(work)
    scratch = work.stored * work.trained // work.shards if work.adam and work.scratch else 0
    return UpdateMemory(weights, gradients, moments, 0, 0, 0, 0 if work.everything_on_host else scratch)


def _sharded(work: Workload) -> tuple[int, int, int]:
    """Return a GPU's share of parameters, gradients and moments: verl loads all of them for the whole update."""
    if work.everything_on_host:
        return 0, 0, 0
    of_trained = work.stored * work.trained // work.shards
    return work.stored * work.parameters // work.shards, of_trained, MOMENTS * of_trained if work.adam else 0


def _on_its_way(work: Workload, unit: int) -> int:
    """Return the GPU's copy of a unit's parameters in full precision, if they live on the host."""
    return work.stored * unit // work.shards if work.everything_on_host else 0


def _kept_activations(work: Workload) -> int:
    """Return what the forward pass keeps of all layers."""
    shape = work.shape
    if not work.checkpointing:
        return shape.layers * _layer_activations(shape, backward=False) * work.tokens
    return 0 if work.checkpoints_offloaded else shape.layers * HALF * shape.hidden * work.tokens


def _layer_activations(shape: ModelShape, *, backward: bool = True) -> int:
    """Return the bytes of one token in one layer: what is saved, and, while going backward, the largest gradients.

    Norms save their input in fp32, their result before and after the weight; attention saves queries, keys, values and
    its result; the feed-forward part saves gate, up, the activated gate and their product.
    """
    norms = (FULL + 2 * HALF) * 2 * shape.hidden
    attention = ((FULL + 3 * HALF) if shape.query_norm else 2 * HALF) * (shape.query + shape.key_value)
    feed_forward = 4 * HALF * shape.intermediate
    gradients = HALF * (shape.hidden + 2 * shape.intermediate) if backward else 0
    return norms + attention + feed_forward + gradients
