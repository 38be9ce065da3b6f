#!/usr/bin/env bash
# Run spo-train with the environment variables of the published SPO recipe for verl.
#
#     OUTPUT_DIR=runs EXP_NAME=spo MODEL_PATH=Qwen/Qwen3-8B SPO_OFFLINE_VALUES=values.json \
#     TRAIN_DATA_DIR=DAPO-Math-17k-Processed_Splits training/run_spo.sh --preset paper
#
#     SPO_ENABLE=False, METHOD=GRPO        train by GRPO
#     SPO_OFFLINE_VALUES, OFFLINE_VALUES   --offline-values
#     MODEL_PATH                           --model
#     TRAIN_DATA_DIR                       --train-files
#     OUTPUT_DIR, EXP_NAME                 --out OUTPUT_DIR/spo/EXP_NAME, as in the recipe
#     RESPONSE_LENGTH, N_TRAIN, N_VAL, VAL_BEFORE_TRAIN    settings of verl; N_TRAIN only with GRPO
#
# Unset variables keep spo-train's defaults. Arguments are passed to spo-train and win over the variables.
set -euo pipefail

method=${METHOD:-SPO}
if [[ ${SPO_ENABLE:-True} =~ ^([Ff]alse|0)$ ]]; then method=GRPO; fi
case $method in
  SPO | spo) method=spo ;;
  GRPO | grpo) method=grpo ;;
  *) echo "error: METHOD=$method: must be SPO or GRPO" >&2; exit 2 ;;
esac

arguments=(--method "$method")
values=${SPO_OFFLINE_VALUES:-${OFFLINE_VALUES:-}}
if [[ -n $values ]]; then arguments+=(--offline-values "$values"); fi
if [[ -n ${MODEL_PATH:-} ]]; then arguments+=(--model "$MODEL_PATH"); fi
if [[ -n ${TRAIN_DATA_DIR:-} ]]; then arguments+=(--train-files "$TRAIN_DATA_DIR"); fi
if [[ -n ${OUTPUT_DIR:-} || -n ${EXP_NAME:-} ]]; then
  arguments+=(--out "${OUTPUT_DIR:-.}/spo/${EXP_NAME:-$method}")
fi

settings=()
if [[ -n ${RESPONSE_LENGTH:-} ]]; then settings+=("data.max_response_length=$RESPONSE_LENGTH"); fi
if [[ -n ${N_TRAIN:-} && $method == grpo ]]; then settings+=("actor_rollout_ref.rollout.n=$N_TRAIN"); fi
if [[ -n ${N_VAL:-} ]]; then settings+=("actor_rollout_ref.rollout.val_kwargs.n=$N_VAL"); fi
if [[ -n ${VAL_BEFORE_TRAIN:-} ]]; then settings+=("trainer.val_before_train=$VAL_BEFORE_TRAIN"); fi

exec "${SPO_TRAIN:-spo-train}" "${arguments[@]}" ${settings[@]+"${settings[@]}"} "$@"
