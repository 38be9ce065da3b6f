#!/usr/bin/env bash
# Runs what one GPU can do of docs/gpu-runs.md, the checks of most worth first. A failed check does not stop the others.
#     benchmarks/gpu/check.sh                       all checks, at most ten minutes
#     benchmarks/gpu/check.sh training resume       these checks
#     benchmarks/gpu/check.sh --sizes cpu           the same checks on a machine without a GPU, with small sizes
#     benchmarks/gpu/check.sh --list                name, limit in seconds and command of each check; runs nothing
# --seconds N is the limit of all checks together, --out FOLDER where results.md, results.json, runs and logs are written.
# PYTHON is the interpreter that has the packages (default: .venv/bin/python). It needs no network.
# Exit status: 0 if all checks passed, 1 if one failed or did not run, 2 for a wrong call or a machine that cannot run them.
set -uo pipefail
cd "$(dirname "$0")/../.."

sizes=gpu seconds=600 out=runs/gpu-check list=no wanted=()
while (($#)); do
    case $1 in
        --sizes | --seconds | --out)
            (($# > 1)) || { echo "check.sh: $1 needs a value" >&2; exit 2; }
            declare "${1#--}=$2"
            shift 2 ;;
        --list) list=yes; shift ;;
        -h | --help) sed -n '2,9s/^# //p' "$0"; exit 0 ;;
        -*) echo "check.sh: unknown option $1 (--sizes, --seconds, --out, --list)" >&2; exit 2 ;;
        *) wanted+=("$1"); shift ;;
    esac
done
[[ $seconds =~ ^[0-9]+$ ]] || { echo "check.sh: --seconds $seconds is no whole number" >&2; exit 2; }

problems="--model smollm2-135m --dataset 'reasoning-gym:chain_sum?max_terms=2&max_digits=1' --max-tokens 96"
values="--offline-values $out/demo --preset demo"
case $sizes in
    gpu)
        demo="" exact=" --deterministic" shots=" --n 64" tests="-m 'engine and not long' tests/e2e/test_estimate_vllm.py"
        throughput="--prompts 250 --max-tokens 2048"
        device=" --gpus-per-node 1 actor_rollout_ref.rollout.gpu_memory_utilization=0.4"
        training="" steps=20 kill=12 late=4 slower=1 ;;
    cpu)
        demo=" --limit 16 --n 4 --dtype float32 --enforce-eager" exact="$demo" shots=" --n 4 --dtype float32 --enforce-eager"
        tests="-m engine tests/e2e/test_estimate_vllm.py -k raising_n"
        throughput="--prompts 6 --max-tokens 64"
        device="" training=" data.train_batch_size=4 trainer.save_freq=2" steps=4 kill=3 late=3 slower=3 ;;
    *) echo "check.sh: --sizes $sizes: give gpu or cpu" >&2; exit 2 ;;
esac
train="spo-train $values$device$training"

# name, limit in seconds, command. Those of most worth come first: the limit of all checks may end the list early.
checks=(
    demo 150 "spo-data estimate $problems --out $out/demo$demo --json"
    card 10 "grep 'sampling time' $out/demo/README.md"
    throughput 200 "python benchmarks/throughput.py engine $throughput"
    training 210 "python benchmarks/gpu/kill_at_step.py $kill $train --out $out/training trainer.total_training_steps=$steps"
    resume 150 "$train --out $out/training trainer.total_training_steps=$steps --resume"
    determinism 150 "for run in first second; do spo-data estimate $problems --out $out/\$run$exact --json || exit; done"
    tools 100 "spo-data estimate --model smollm2-135m --dataset $out/shots.jsonl --out $out/tools --tools python --max-tool-turns 2 --max-tokens 96$shots --json"
    tools-training 150 "spo-train --offline-values $out/tools --preset demo$device --out $out/tools-training data.train_batch_size=4 trainer.total_training_steps=2"
    asynchronous 150 "$train --out $out/asynchronous trainer.v1.trainer_mode=spo_colocate_async trainer.total_training_steps=$late"
    end-to-end 300 "python -m pytest -q $tests"
)

names=()
for ((i = 0; i < ${#checks[@]}; i += 3)); do names+=("${checks[i]}"); done
for name in "${wanted[@]}"; do
    [[ " ${names[*]} " == *" $name "* ]] || { echo "check.sh: no check is named $name: ${names[*]}" >&2; exit 2; }
done
if [[ $list == yes ]]; then
    for ((i = 0; i < ${#checks[@]}; i += 3)); do printf '%s\t%s\t%s\n' "${checks[@]:i:3}"; done
    exit 0
fi

python=$(command -v "${PYTHON:-.venv/bin/python}") || { echo "check.sh: no ${PYTHON:-.venv/bin/python}: give PYTHON=/path/to/python" >&2; exit 2; }
[[ $python == /* ]] || python=$PWD/$python
PATH=$(dirname "$python"):$PATH
export HF_HUB_OFFLINE=1 PYTHONPATH="$PWD/tests:${PYTHONPATH:-}"

if [[ -e $out && ! -f $out/results.json ]]; then
    echo "check.sh: $out exists and holds no results of these checks: give another --out" >&2
    exit 2
fi
python benchmarks/gpu/results.py begin "$out" "$sizes" "$seconds" "${wanted[@]}" || exit
for name in "${wanted[@]}"; do
    case $name in
        determinism) rm -rf "${out:?}/first" "${out:?}/second" ;;
        resume | card) ;; # they look at what the check before them left
        *) rm -rf "${out:?}/$name" ;;
    esac
done
python -c "import sys; from pathlib import Path; from support.tool_shots import write_shots; write_shots(Path(sys.argv[1]))" "$out/shots.jsonl"
# Without flash-attn, which is built from source, the checks train with torch's attention.
if [[ $sizes == gpu ]] && ! python -c "import flash_attn" 2> /dev/null; then
    attention=" actor_rollout_ref.model.use_remove_padding=False +actor_rollout_ref.model.override_config.attn_implementation=sdpa"
fi

status=0
for ((i = 0; i < ${#checks[@]}; i += 3)); do
    name=${checks[i]} limit=$((slower * checks[i + 1])) command=${checks[i + 2]} left=$((seconds - SECONDS))
    ((${#wanted[@]} == 0)) || [[ " ${wanted[*]} " == *" $name "* ]] || continue
    [[ $command != *spo-train* ]] || command+=${attention:-}
    if ((left < limit && left < 15)); then
        python benchmarks/gpu/results.py skip "$out" "$name" "$command" "no time left of $seconds s" || status=1
    else
        python benchmarks/gpu/run_check.py "$out" "$name" "$command" $((limit < left ? limit : left)) || status=1
    fi
done
python benchmarks/gpu/results.py show "$out"
exit $status
