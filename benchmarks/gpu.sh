#!/usr/bin/env bash
# Everything that wants a GPU, in one go of under 9 minutes: logs, results and a summary in one folder.
#
#   benchmarks/gpu.sh OUT [PART[:SECONDS]...]        all parts, or those that are named, in that order
#   benchmarks/gpu.sh --rehearse OUT [PART...]       every part tiny, on a processor, in under 2 minutes
#   benchmarks/gpu.sh OUT prepare                    ahead, where there is `datasets`: the data that the parts read
#
# Parts, each with the seconds that it may take at most:
#   check     (90)   updates in fp32, bf16 and fp16, the same bits twice and after a stop
#   memory    (50)   the largest batch of base and big
#   decoding  (140)  benchmarks/decoding.py, base, beside its peers
#   training  (140)  benchmarks/training.py, beside its peers
#   multi30k         trains RECIPE on Multi30k for the time that is left, then says when it reached which BLEU
# A part that fails or runs out of time does not keep the next one from running. The exit status is 1 where one did.
#
# Variables:
#   BUDGET   seconds for all parts together (530)
#   PYTHON   the interpreter (python3)
#   CACHE    data.cache_dir (.cache/data); filled by `prepare`, it needs neither network nor `datasets`
#   DATA     folder of Multi30k: train.en, train.de, val.en and val.de, plain or .gz (data/multi30k)
#   RECIPE   config that `multi30k` trains (configs/multi30k.yaml)
#   BLEU     figures whose time `multi30k` tells ("20 25 30 35")
#   WHEELS   folder of wheels to install first, beside what is there and only for this run
#   TRAINING, DECODING   other options for the two benchmarks
set -u

usage() {
  sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
  exit 2
}

rehearse=
if [[ ${1:-} == --rehearse ]]; then
  rehearse=yes
  shift
fi
[[ $# -ge 1 && $1 != -* ]] || usage

mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
shift
parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(check memory decoding training multi30k)

absolute() { # PATH: from where the command was given
  case $1 in
    /*) printf '%s' "$1" ;;
    *) printf '%s' "$PWD/$1" ;;
  esac
}
[[ -z ${CACHE:-} ]] || CACHE=$(absolute "$CACHE")
[[ -z ${DATA:-} ]] || DATA=$(absolute "$DATA")
[[ -z ${WHEELS:-} ]] || WHEELS=$(absolute "$WHEELS")
[[ -z ${RECIPE:-} ]] || RECIPE=$(absolute "$RECIPE")
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

python=${PYTHON:-python3}
cache=${CACHE:-.cache/data}
data=${DATA:-data/multi30k}
recipe=${RECIPE:-configs/multi30k.yaml}
budget=${BUDGET:-530}
read -ra figures <<<"${BLEU:-20 25 30 35}"
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
device=cuda
quick=()
tiny=()
if [[ -n $rehearse ]]; then
  device=cpu
  cache=$work/cache
  quick=(--rehearse)
  tiny=(
    data.train=grammar data.valid=null data.test=null data.grammar_pairs=2000 data.vocab_size=400 model.d_model=32
    model.n_layers=1 model.n_heads=2 model.d_ff=64 batches.tokens_per_update=1600 batches.buckets=8 train.log_every=5
    validation.every=20 validation.bleu_sentences=4 checkpoints.every=20 train.max_steps=40 train.threads=1
  )
fi

pair() { # NAME: the setting's list of two files of Multi30k, packed or not
  local file=$data/$1 end=
  [[ -e $file.en ]] || end=.gz
  printf '[%s.en%s,%s.de%s]' "$file" "$end" "$file" "$end"
}
corpus=("data.train=$(pair train)" "data.valid=$(pair val)" data.test=null "data.cache_dir=$cache")

allowed() { # PART: seconds that it may take when it has no limit on the command line
  case $1 in
    check) echo 90 ;;
    memory) echo 50 ;;
    decoding | training) echo 140 ;;
    *) echo "$budget" ;;
  esac
}

run_part() { # PART LIMIT: in a shell of its own, its output in the part's log
  local part=$1 limit=$2
  case $part in
    prepare)
      "$python" benchmarks/gpu_run.py prepare --cache "$cache" &&
        "$python" -m data_pipeline.prepare --config "$recipe" "${corpus[@]}" ${tiny[@]+"${tiny[@]}"}
      ;;
    check | memory)
      within "$limit" "$python" benchmarks/gpu_run.py "$part" --cache "$cache" --out "$out/gpu_$part.json" \
        ${quick[@]+"${quick[@]}"}
      ;;
    decoding)
      local options=(--device cuda --sizes base --batches 32 128 512 --rounds 3)
      [[ -z ${DECODING:-} ]] || read -ra options <<<"$DECODING"
      [[ -z $rehearse ]] || options=(--quick --threads 1 --batches 2 --beams 2)
      within "$limit" "$python" benchmarks/decoding.py "${options[@]}"
      ;;
    training)
      local options=(--device cuda --sizes base big --precisions bf16 --rounds 3 --compile)
      [[ -z ${TRAINING:-} ]] || read -ra options <<<"$TRAINING"
      [[ -z $rehearse ]] || options=(--quick --threads 1)
      within "$limit" "$python" benchmarks/training.py "${options[@]}"
      ;;
    multi30k) train_multi30k "$limit" ;;
    *)
      echo "error: there is no part $part; see the first lines of benchmarks/gpu.sh"
      return 2
      ;;
  esac
}

within() { # SECONDS COMMAND...
  timeout --kill-after=5 "$@" &
  trap 'kill "$!"; exit 143' TERM
  wait "$!"
}

train_multi30k() { # LIMIT: the run ends by itself before, so that its last checkpoint and its curve are there
  local run=$work/multi30k hours status file
  hours=$("$python" -c "import sys; print(max(5, float(sys.argv[1]) - 40) / 3600)" "$1")
  within "$1" "$python" train/train.py --config "$recipe" "${corpus[@]}" ${tiny[@]+"${tiny[@]}"} \
    "run_dir=$run" "train.max_hours=$hours" train.log_with=none
  status=$?
  for file in config.yaml ledger.md metrics.jsonl timing.jsonl; do
    [[ ! -e $run/$file ]] || cp "$run/$file" "$out/multi30k_$file"
  done
  within 30 "$python" benchmarks/time_to_bleu.py "multi30k=$run" --bleu "${figures[@]}" --out "$out" || status=$?
  return "$status"
}

describe() {
  [[ $device == cpu ]] || nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  "$python" -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__)'
}

if [[ -n ${WHEELS:-} ]]; then
  "$python" -m pip install --quiet --no-index --no-deps --target "$work/packages" "$WHEELS"/*.whl || exit 2
  export PYTHONPATH="$work/packages${PYTHONPATH:+:$PYTHONPATH}"
fi

summary=$out/summary.txt
describe 2>&1 | tee "$summary"
printf '%-10s %8s %7s\n' part seconds status | tee -a "$summary"
failed=0
for entry in "${parts[@]}"; do
  part=${entry%%:*}
  limit=$(allowed "$part")
  [[ $entry != *:* ]] || limit=${entry#*:}
  left=$((budget - SECONDS))
  [[ $limit -le $left ]] || limit=$left
  began=$SECONDS
  if [[ $limit -lt 10 ]]; then
    status=no-time
  else
    touch "$work/began"
    (run_part "$part" "$limit") >"$out/$part.log" 2>&1 &
    trap 'kill "$!"; exit 143' INT TERM  # a shell that waits like this hears them, and nothing goes on without it
    wait "$!"
    status=$?
    find benchmarks/results -name '*.json' -newer "$work/began" -exec cp {} "$out" \;
    [[ $status != 124 && $status != 137 ]] || status=time-out
  fi
  [[ $status == 0 ]] || failed=1
  printf '%-10s %8d %7s\n' "$part" $((SECONDS - began)) "$status" | tee -a "$summary"
done
printf '%-10s %8d\n' all "$SECONDS" | tee -a "$summary"
exit "$failed"
