"""The CPUs and GPUs that verl asks Ray for, and whether Ray has them.

    reserve_cpus(config, nodes=1)          # one node: Ray is told of enough CPUs, whatever the machine has
    check_ray(config, devices)             # raises UserError with what there is and what it takes

verl takes CPUs as tickets: its placement groups wait for them for ever, without a word, while two real cores would do.
All other actors of verl and ours take none while they run.
"""

import os
from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_train.config.keys import RAY_CPUS_KEY, RAY_INIT, ROLLOUT, ROLLOUT_NODES_KEY
from spo_train.plan.ray_cluster import NoClusterError, Node, find_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omegaconf import DictConfig

    from spo_data.engines.accelerators import Accelerators

CPUS_OF_A_GPU = 3
"""verl's `ResourcePoolManager.max_colocate_count`."""
CPUS_OF_A_SAMPLING_GPU = 2
"""The same of GPUs that only sample (`RolloutReplica.init_standalone`)."""
CONTROLLER_CPUS = 1
"""TransferQueue's controller; each of its storage units takes one too."""
SPARE_CPUS = 4
"""For a task of Ray that takes a CPU while it runs."""
OWN = "local"
"""Ray's address for a Ray of one's own."""


def find_address(config: "DictConfig", nodes: int) -> str | None:
    """Return the address of the Ray cluster that training connects to, or None if it starts a Ray of its own."""
    from omegaconf import OmegaConf

    address = OmegaConf.select(config, f"{RAY_INIT}.address")
    if address in (None, "auto"):  # Ray reads the variable then
        address = os.environ.get("RAY_ADDRESS") or choose_address(nodes)
    return None if address == OWN else str(address)


def choose_address(nodes: int) -> str:
    """Return the address for RAY_ADDRESS: one node gets a Ray of its own."""
    return OWN if nodes == 1 else "auto"


def count_gpus(config: "DictConfig") -> tuple[int, int]:
    """Return the GPUs that train, and those that only sample."""
    rollout = config.actor_rollout_ref.rollout
    separate = config.trainer.v1.trainer_mode == "spo_separate_async"
    return config.trainer.nnodes * config.trainer.n_gpus_per_node, (
        rollout.nnodes * rollout.n_gpus_per_node if separate else 0
    )


def count_cpus(config: "DictConfig") -> int:
    """Return the CPUs that verl's actors hold, all nodes together."""
    train, sample = count_gpus(config)
    return CPUS_OF_A_GPU * train + CPUS_OF_A_SAMPLING_GPU * sample + CONTROLLER_CPUS + _count_units(config)


def reserve_cpus(config: "DictConfig", nodes: int) -> None:
    """Tell a Ray of our own of enough CPUs, unless the user or the platform says of how many."""
    from omegaconf import OmegaConf

    if find_address(config, nodes) is None and OmegaConf.select(config, RAY_CPUS_KEY) is None:
        OmegaConf.update(config, RAY_CPUS_KEY, count_cpus(config) + SPARE_CPUS)


def check_ray(
    config: "DictConfig", devices: "Accelerators", ask: "Callable[[str], Sequence[Node]]" = find_nodes
) -> None:
    """Raise UserError if verl would wait for ever, or fail after minutes, for what Ray does not have."""
    address = find_address(config, config.trainer.nnodes)
    if address is None:
        _check_own(config, devices)
        return
    _refuse_resources(config, address)
    try:
        nodes = ask(address)
    except NoClusterError as error:
        raise UserError(f"{_name_source(config, address)}: {error}; {_suggest_cluster(config)}") from error
    _check_cluster(config, address, nodes)


def _count_units(config: "DictConfig") -> int:
    storage = config.transfer_queue.backend
    return int(storage.SimpleStorage.num_data_storage_units) if storage.storage_backend == "SimpleStorage" else 0


def _describe_need(config: "DictConfig") -> str:
    train, sample = count_gpus(config)
    parts = [f"{CPUS_OF_A_GPU} for each of {train} GPUs that train"]
    parts += [f"{CPUS_OF_A_SAMPLING_GPU} for each of {sample} that sample"] if sample else []
    return f"{', '.join(parts)}, {CONTROLLER_CPUS + _count_units(config)} for verl's queue"


def _check_own(config: "DictConfig", devices: "Accelerators") -> None:
    from omegaconf import OmegaConf

    wanted, given = count_cpus(config), OmegaConf.select(config, RAY_CPUS_KEY)
    if given < wanted:
        raise UserError(
            f"{RAY_CPUS_KEY}={given}: verl would wait for ever for {wanted} CPUs ({_describe_need(config)}); none of"
            f" them is kept from other programs: {RAY_CPUS_KEY}={wanted + SPARE_CPUS}, or leave it out"
        )
    train, sample = count_gpus(config)
    there = OmegaConf.select(config, f"{RAY_INIT}.num_gpus") or devices.count
    if train + sample <= there:
        return
    if not sample:
        raise UserError(f"--gpus-per-node {train}: this machine has {there} GPUs: --gpus-per-node {there}")
    half = max(there // 2, 1)
    raise UserError(
        f"{train} GPUs train and {sample} more sample, this machine has {there}:"
        f" --gpus-per-node {there - half} {ROLLOUT}.n_gpus_per_node={half}"
    )


def _refuse_resources(config: "DictConfig", address: str) -> None:
    """Ray refuses to be told of a running cluster's resources."""
    from omegaconf import OmegaConf

    for name in ("num_cpus", "num_gpus", "object_store_memory"):
        value = OmegaConf.select(config, f"{RAY_INIT}.{name}")
        if value is not None:
            raise UserError(
                f"{RAY_INIT}.{name}={value}: a running Ray cluster ({_name_source(config, address)}) is told when it"
                f" starts (ray start --{name.replace('_', '-')}): leave it null"
            )


def _name_source(config: "DictConfig", address: str) -> str:
    from omegaconf import OmegaConf

    if OmegaConf.select(config, f"{RAY_INIT}.address") == address != "auto":
        return f"{RAY_INIT}.address={address}"
    return f"RAY_ADDRESS={address}" if os.environ.get("RAY_ADDRESS") else f"--nodes {config.trainer.nnodes}"


def _suggest_cluster(config: "DictConfig") -> str:
    start = "ray start --head on one node, ray start --address=HOST:6379 on the others"
    if config.trainer.nnodes > 1:
        return f"start the cluster first ({start}), and spo-train on one of its nodes"
    return "unset RAY_ADDRESS to train on this machine alone, or start the cluster that it names"


def _check_cluster(config: "DictConfig", address: str, nodes: "Sequence[Node]") -> None:
    """Raise UserError if verl's placement groups do not fit, each of which wants its GPUs and CPUs on one node."""
    (train, sample), cpus = count_gpus(config), count_cpus(config)
    here = config.trainer.n_gpus_per_node
    source = f"the Ray cluster of {_name_source(config, address)}"
    gpus_there, cpus_there = int(sum(node.gpus for node in nodes)), int(sum(node.cpus for node in nodes))
    if gpus_there < train + sample:
        also = f" and {ROLLOUT_NODES_KEY}={config.actor_rollout_ref.rollout.nnodes}" if sample else ""
        raise UserError(
            f"{source} has {gpus_there} GPUs, training takes {train + sample}: add nodes (ray start --address=…), or"
            f" lower --nodes {config.trainer.nnodes} or --gpus-per-node {here}{also}"
        )
    units = _count_units(config)
    needed = CPUS_OF_A_GPU * here + -(-(units + CONTROLLER_CPUS) // max(len(nodes), 1))
    fix = f"start each node with ray start --num-cpus={needed + SPARE_CPUS}, which keeps no core from other programs"
    if cpus_there < cpus:
        raise UserError(
            f"{source} has {cpus_there} CPUs, verl would wait for ever for {cpus} ({_describe_need(config)}): {fix}"
        )
    # The storage units go to the nodes in turn, and are there first.
    free = [node.cpus - units // len(nodes) - (place < units % len(nodes)) for place, node in enumerate(nodes)]
    fit = sum(
        int(min(node.gpus // here, left // (CPUS_OF_A_GPU * here))) for node, left in zip(nodes, free, strict=True)
    )
    if fit < config.trainer.nnodes:
        raise UserError(
            f"{source} has {fit} nodes with {here} GPUs and {CPUS_OF_A_GPU * here} CPUs each beside verl's queue, verl"
            f" would wait for ever for {config.trainer.nnodes} (--nodes, --gpus-per-node): {fix}"
        )
    rollout = config.actor_rollout_ref.rollout
    if sample and (fit := _place_samplers(config, nodes, free)) < rollout.nnodes:
        each = rollout.n_gpus_per_node
        raise UserError(
            f"{source} has room for {fit} groups of {each} GPUs that sample and {CPUS_OF_A_SAMPLING_GPU * each} CPUs,"
            f" each on one node, beside the GPUs that train; verl would wait for ever for {rollout.nnodes}"
            f" ({ROLLOUT_NODES_KEY}, {ROLLOUT}.n_gpus_per_node): {fix}"
        )


def _place_samplers(config: "DictConfig", nodes: "Sequence[Node]", free: "Sequence[float]") -> int:
    """Return how many groups of GPUs that only sample have room beside those that train, in the best placement."""
    rollout, here, wanted = config.actor_rollout_ref.rollout, config.trainer.n_gpus_per_node, config.trainer.nnodes
    each = rollout.n_gpus_per_node
    most = {0: 0}  # groups that train -> the most groups that sample
    for node, left in zip(nodes, free, strict=True):
        placed: dict[int, int] = {}
        for train in range(int(min(node.gpus // here, left // (CPUS_OF_A_GPU * here))) + 1):
            gpus, cpus = node.gpus - train * here, left - CPUS_OF_A_GPU * train * here
            sample = int(min(gpus // each, cpus // (CPUS_OF_A_SAMPLING_GPU * each)))
            for before, fitted in most.items():
                both = min(before + train, wanted)
                placed[both] = max(placed.get(both, 0), fitted + max(sample, 0))
        most = placed
    return most[wanted]
