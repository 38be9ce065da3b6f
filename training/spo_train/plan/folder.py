"""The folder of a training run: the files that it starts from.

    with folder_lock(plan.out, "spo-train"):
        environment = write_folder(plan)        # the model, run_train.json, data, agent_loop.yaml, config.yaml
        launch(plan.out, environment, watcher)

Every path in the configuration is absolute: Ray's workers start in other folders.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spo_train.plan.ray_resources import choose_address

if TYPE_CHECKING:
    from spo_data.models.names import Model
    from spo_train.data.first_responses import FirstResponse
    from spo_train.plan.assemble import TrainPlan


def write_folder(plan: "TrainPlan") -> dict[str, str]:
    """Write the files and return the environment to start verl in; the caller holds the folder's lock."""
    from omegaconf import OmegaConf

    from spo_data.files import replace_whole, write_whole
    from spo_train.config.keys import MODEL_PATH_KEY
    from spo_train.config.preset import LOOP_NAME
    from spo_train.data.first_responses import read_first_responses
    from spo_train.data.loop_file import dump_loop, make_loop_settings
    from spo_train.data.verl_files import write_training_data, write_validation_rows
    from spo_train.filenames import AGENT_LOOP, CONFIG
    from spo_train.literal import check_path, to_literal
    from spo_train.plan.record import read_record
    from spo_train.plan.weights import refuse_missing_weights

    out, config, options = plan.out, plan.config, plan.options
    if plan.model.hub_revision is not None:
        # verl cannot ask for a commit, so it gets the folder of this commit in the Hub's cache.
        folder = _download(plan.model)
        check_path("the Hub's cache", folder)
        refuse_missing_weights(folder)
        OmegaConf.update(config, MODEL_PATH_KEY, str(folder))
        if plan.devices.on_cpu:
            from verl_cpu.overrides import BUCKET, bucket_mib

            OmegaConf.update(config, BUCKET, bucket_mib(folder))
    responses: list[FirstResponse | None] = [None] * len(plan.data.prompts)
    if plan.values is not None and plan.reads_first_responses:
        responses = read_first_responses(plan.values, plan.data.prompt_ids)
    # The record goes first, so that a half-written folder is still known to be a training run's.
    before = read_record(out) if options.resume else None
    commands = (*(before.commands if before else ()), options.command)
    plan.record.model_copy(update={"commands": commands}).write(out)
    write_training_data(plan.data, responses, out)
    if plan.validation is not None:
        write_validation_rows(plan.validation, out)
    workers = int(config.actor_rollout_ref.rollout.agent.num_workers)
    loop = {
        "name": LOOP_NAME,
        "_target_": "spo_train.hooks.agent_loop.SPOAgentLoop",
        "stop": to_literal(plan.choice.stop),
        "template_kwargs": to_literal(plan.choice.template_kwargs),
        "seed": int(config.trainer.spo.seed),
        **make_loop_settings(plan.tools, workers, plan.data.template),
    }
    write_whole(out / AGENT_LOOP, dump_loop(loop))
    with replace_whole(out / CONFIG) as fresh:
        OmegaConf.save(config, fresh)
    return _choose_environment(plan)


def _choose_environment(plan: "TrainPlan") -> dict[str, str]:
    """Return the environment: one node gets a Ray cluster of its own, unless the user names one."""
    # An empty variable would let Ray connect to any cluster that was started on this machine.
    cluster = {} if os.environ.get("RAY_ADDRESS") else {"RAY_ADDRESS": choose_address(plan.options.nodes)}
    if not plan.devices.on_cpu:
        return cluster
    import verl_cpu

    return cluster | verl_cpu.environment()


def _download(model: "Model") -> Path:
    from huggingface_hub import snapshot_download

    from spo_data.hub.client_errors import clear_hub_errors

    patterns = ["*.json", "*.jinja", "*.safetensors", "*.bin", "*.model", "*.txt", "*.py"]
    with clear_hub_errors(f"--model {model.name}", absent="no such model", revision=model.revision):
        return Path(snapshot_download(model.path, revision=model.hub_revision, allow_patterns=patterns))
