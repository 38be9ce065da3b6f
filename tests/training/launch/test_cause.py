"""The cause of a failure, found in logs as Ray 2.60, verl 0.9.1 and vLLM write them."""

import pytest

from spo_train.launch.cause import find_cause

NOISE = (
    "\x1b[36m(TaskRunner pid=13293)\x1b[0m /x/verl/workers/engine/__init__.py:32: UserWarning: torchtitan engine is not"
    " available: ModuleNotFoundError(\"No module named 'torchtitan'\")\n"
    "\x1b[36m(WorkerDict pid=541)\x1b[0m step:1 - spo/reward:0.4\x1b[32m [repeated 3x across cluster]\x1b[0m\n"
)
DRIVER = """Traceback (most recent call last):
  File "/x/spo_train/run.py", line 33, in <module>
    main(sys.argv[1])
  File "/x/ray/_private/worker.py", line 1053, in get_objects
    raise value.as_instanceof_cause()
"""
RUNNER = """ray.exceptions.RayTaskError({kind}): \x1b[36mray::TaskRunner.run()\x1b[39m (pid=17672, ip=192.0.2.2)
           ^^^^^^^^^^^^^^^^^^^
  File "/x/verl/trainer/main_ppo.py", line 139, in run
    self.trainer.init()
           ^^^^^^^^^^^^^^^^^^^
"""
WORKER = """ray.exceptions.RayTaskError({kind}): \x1b[36mray::WorkerDict.update()\x1b[39m (pid=17716, ip=192.0.2.2)
           ^^^^^^^^^^^^^^^^^^^
  File "/x/verl/workers/engine_workers.py", line 268, in train_mini_batch
    raise
    ^^^^^
"""
DIED = """ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: WorkerDict
\tactor_id: 3775a4bc6da4f807342fdf8d01000000
\tpid: 541
\tnamespace: d18b988d
\tip: 192.0.2.2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed \
by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly \
due to SIGSEGV or another unexpected error.
"""
RAYLET = (
    "\x1b[33m(raylet)\x1b[0m A worker died or was killed while executing a task by an unexpected system error. Worker"
    " PID: 541 Worker exit type: SYSTEM_ERROR\n"
)
CREATION = """ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation task, \
\x1b[36mray::vLLMHttpServer.__init__()\x1b[39m (pid=99, ip=192.0.2.2, actor_id=8f)
  File "/x/vllm/v1/engine/utils.py", line 912, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
ENGINE = (
    "\x1b[36m(vLLMHttpServer pid=99)\x1b[0m \x1b[0;36m(EngineCore pid=123)\x1b[0;0m ERROR 11-27 00:01:02 [core.py:1070]"
    " ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.\n"
)

REPLACED = (
    DRIVER
    + RUNNER.format(kind="RuntimeError")
    + "RuntimeError: 35 responses of one step failed or grew stale: see the reasons above in this log\n"
    + "\x1b[36m(TaskRunner pid=13293)\x1b[0m Training Progress:  22%|██▎       | 9/40 [00:29<?, ?it/s]\n"
)


def worker_log(text: str, pid: int = 12428) -> str:
    return "".join(f"\x1b[36m(AgentLoopWorkerTQ pid={pid})\x1b[0m {line}\n" for line in text.splitlines())


def failed(number: int, last: str) -> str:
    """What verl's worker logs if a response fails in a reward worker."""
    return worker_log(f"""ERROR:2026-11-27 01:19:01,500:Error in _run_prompt for uid=draw{number}
Traceback (most recent call last):
  File "/x/verl/experimental/agent_loop/agent_loop.py", line 1026, in _compute_score
    result = await selected_reward_loop_worker_handle.compute_score.remote(data)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
{last}""")


DIED_IN_REWARD = """ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation task, \
\x1b[36mray::reward_loop_worker_0:RewardLoopWorker.__init__()\x1b[39m (pid=12211, ip=192.0.2.2)
  File "/x/verl/utils/import_utils.py", line 179, in load_module
    raise FileNotFoundError(f"Custom module file not found: {module_path=}")
FileNotFoundError: Custom module file not found: module_path='/tmp/nowhere.py'"""
UNGRADED = """ray.exceptions.RayTaskError(UngradedError): \x1b[36mray::RewardLoopWorker.run()\x1b[39m (pid=10198)
  File "/x/spo_train/reward.py", line 74, in _graded
    raise UngradedError(f"{graded.verdict}: {graded.detail or 'no detail'}")
spo_train.hooks.reward.UngradedError: grader_error: ProcessExpired: Abnormal termination"""
ENGINE_DEAD = """vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace \
(above) for the root cause."""
LATER = worker_log("W1127 01:18:58.548000 12428 torch/_library/triton.py:53] Triton not available")


def wrapped(kind: str, last: str) -> str:
    return NOISE + DRIVER + RUNNER.format(kind=kind) + WORKER.format(kind=kind) + last + "\n"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            wrapped("ValueError", "ValueError: the checkpoint was made with other training prompts"),
            "ValueError: the checkpoint was made with other training prompts",
        ),
        (
            wrapped("AssertionError", "AssertionError"),
            "AssertionError in train_mini_batch (/x/verl/workers/engine_workers.py, line 268)",
        ),
        (
            wrapped("OutOfMemoryError", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB."),
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.",
        ),
        (
            wrapped("UngradedError", "spo_train.hooks.reward.UngradedError: grader_timeout: no detail\nmore\n"),
            "spo_train.hooks.reward.UngradedError: grader_timeout: no detail",
        ),
        (
            NOISE + RAYLET + DRIVER + RUNNER.format(kind="ActorDiedError") + DIED,
            "WorkerDict (process 541) was killed or crashed without a message, as when the machine's memory runs out",
        ),
        (
            NOISE
            + "\x1b[36m(WorkerDict pid=541, ip=192.0.2.3)\x1b[0m RuntimeError: NCCL error: unhandled system error\n"
            + "\x1b[36m(WorkerDict pid=77)\x1b[0m KeyError: 'another worker'\n"
            + RAYLET
            + DRIVER
            + RUNNER.format(kind="ActorDiedError")
            + DIED,
            "RuntimeError: NCCL error: unhandled system error",
        ),
        (
            NOISE
            + "\x1b[33m(raylet)\x1b[0m 1 Workers (tasks / actors) killed due to memory pressure (OOM)\n"
            + DRIVER
            + RUNNER.format(kind="ActorDiedError")
            + DIED,
            "WorkerDict (process 541) was killed by Ray because the machine's memory ran out",
        ),
        (
            NOISE
            + "\x1b[36m(TaskRunner pid=17672)\x1b[0m spo-train: weight sync did not finish in 600 s\n"
            + RAYLET
            + DRIVER
            + DIED.replace("541", "17672"),
            "weight sync did not finish in 600 s",
        ),
        (
            NOISE + ENGINE + DRIVER + RUNNER.format(kind="ActorDiedError") + CREATION,
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
        ),
        (
            NOISE + DRIVER + "ray.exceptions.WorkerCrashedError: The worker died unexpectedly.\n",
            "ray.exceptions.WorkerCrashedError: The worker died unexpectedly.",
        ),
        (
            wrapped("ValueError", "ValueError: first")
            + "Exception ignored in: <function Tracking.__del__ at 0x7f>\nTraceback (most recent call last):\n"
            + '  File "/x/verl/utils/tracking.py", line 9, in __del__\n    self.finish()\nAttributeError: no logger\n',
            "ValueError: first",
        ),
        (
            NOISE + failed(66, UNGRADED) + failed(67, DIED_IN_REWARD) + LATER + REPLACED,
            "35 responses of one step failed or grew stale, the last one: FileNotFoundError: Custom module file not"
            " found: module_path='/tmp/nowhere.py'",
        ),
        (
            NOISE + failed(66, UNGRADED) + failed(67, "") + REPLACED,
            "35 responses of one step failed or grew stale, the last one:"
            " spo_train.hooks.reward.UngradedError: grader_error: ProcessExpired: Abnormal termination",
        ),
        (
            NOISE + ENGINE + failed(67, ENGINE_DEAD) + REPLACED,
            "35 responses of one step failed or grew stale, the last one: ValueError: No available memory for the cache"
            " blocks. Try increasing `gpu_memory_utilization`.",
        ),
        (
            NOISE + REPLACED,
            "RuntimeError: 35 responses of one step failed or grew stale: see the reasons above in this log",
        ),
        (NOISE + DRIVER + "KeyError: 'x'\n", "KeyError: 'x'"),
        (NOISE, None),
        ("", None),
    ],
    ids=[
        *("value", "assert", "cuda", "ours", "silent", "said", "oom", "hang", "engine", "crash", "ignored"),
        *("reward", "ungraded", "dead-engine", "stale", "driver", "none", "empty"),
    ],
)
def test_the_innermost_cause_is_found(log: str, cause: str | None) -> None:
    assert find_cause(log) == cause
