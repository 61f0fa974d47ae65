#!/usr/bin/env bash
#SBATCH --job-name=limbeck-search
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#
# A search whose candidates train on all nodes of a Slurm job:
#
#     sbatch examples/slurm_ray.sh my.toml [further options of `limbeck search`]
#
# Run it in the folder of the recipe, which all nodes must share, as they must share the data and the environment that
# `limbeck` and `ray` are installed in (pip install 'limbeck[ray]'). The driver runs on the first node and times candidates
# there, so ask for nodes like the device that the budget means, or name that device in budget.target. Two minutes before its
# time is up the search stops and keeps what it has; submit the same command again, and it goes on.
set -euo pipefail
recipe=${1:?"usage: sbatch slurm_ray.sh RECIPE [options of limbeck search]"}
shift
workers_per_node=${WORKERS_PER_NODE:-1}
cpus_per_worker=$((SLURM_CPUS_PER_TASK / workers_per_node))
nodes=${SLURM_JOB_NUM_NODES:-1}

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_ADDRESS="$head:$port"
# Whoever reaches a Ray cluster can run code on it: only this job's processes know the token.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

steps=()
cleanup() { ((${#steps[@]} == 0)) || kill "${steps[@]}" 2>/dev/null || true; }
trap cleanup EXIT
on_node=(--nodes=1 --ntasks=1 --overlap)
holds=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --block)

srun "${on_node[@]}" --nodelist="$head" \
    ray start --head --port="$port" --include-dashboard=false "${holds[@]}" >ray-head.log 2>&1 &
steps+=($!)
for _ in $(seq 60); do
    ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1 && break
    sleep 2
done
for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n +2); do
    srun "${on_node[@]}" --nodelist="$node" ray start --address="$RAY_ADDRESS" "${holds[@]}" >"ray-$node.log" 2>&1 &
    steps+=($!)
done

limbeck search "$recipe" --set search.engine=ray --set search.workers=$((nodes * workers_per_node)) \
    --set search.ray.cpus="$cpus_per_worker" "$@" &
search=$!
trap 'kill -TERM "$search"' TERM
code=0
wait "$search" || code=$?
if ((code > 128)) && kill -0 "$search" 2>/dev/null; then # the trap ended the first wait, not the search
    code=0
    wait "$search" || code=$?
fi
exit "$code"
