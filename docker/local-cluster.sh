#!/usr/bin/env bash
# A cluster of plain processes on this machine: a scheduler and executors on loopback, on ports that
# are free. Runs the demo on it, or the command that it is given with ASOF_CLUSTER set, and stops what
# it started.
#
#   docker/local-cluster.sh                                       the demo
#   docker/local-cluster.sh asof --cluster '$ASOF_CLUSTER'        a shell on the cluster
#
#   EXECUTORS=2 VCORES=2    how many executors, and how many partitions each works at
#   PROFILE=dev             the cargo profile that is built
#   S3=1                    also an object store with a bucket `asof` (moto, from `pip install 'moto[server]'`),
#                           and the variables by which shell and executors find it
set -euo pipefail
cd "$(dirname "$0")/.."

executors="${EXECUTORS:-2}"
vcores="${VCORES:-2}"
profile="${PROFILE:-dev}"

cargo build --quiet --profile "$profile" --bins
target="${CARGO_TARGET_DIR:-$(cargo metadata --format-version 1 --no-deps |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')}"
bin="$target/$([ "$profile" = dev ] && echo debug || echo "$profile")"

work="$(mktemp -d)"
started=()
stop() {
    # By their ids, and nothing else.
    for id in "${started[@]}"; do kill "$id" 2>/dev/null || true; done
    for id in "${started[@]}"; do wait "$id" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Ports that nobody listens on now, below those that systems give to connections and above those that
# the tests take.
free_ports() {
    python3 - "$1" <<'PYTHON'
import random, socket, sys
held = []
while len(held) < int(sys.argv[1]):
    s = socket.socket()
    try: s.bind(("127.0.0.1", random.randrange(30000, 32700)))
    except OSError: continue
    held.append(s)
print(*[s.getsockname()[1] for s in held])
PYTHON
}
read -r -a ports <<<"$(free_ports $((2 + 3 * executors)))"
scheduler_port="${ports[0]}"
s3_port="${ports[1 + 3 * executors]}"

if [ -n "${S3:-}" ]; then
    export AWS_ENDPOINT="http://127.0.0.1:$s3_port" AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=loopback AWS_SECRET_ACCESS_KEY=not-a-secret
    moto_server -H 127.0.0.1 -p "$s3_port" >"$work/s3.log" 2>&1 &
    started+=($!)
    curl -fsS -o /dev/null --retry 60 --retry-delay 1 --retry-all-errors -X PUT "$AWS_ENDPOINT/asof"
fi

"$bin/asof-scheduler" \
    --bind-host 127.0.0.1 --external-host 127.0.0.1 --bind-port "$scheduler_port" \
    --min-ready-executors "$executors" --executor-timeout-seconds 20 --expire-dead-executor-interval-seconds 5 \
    >"$work/scheduler.log" 2>&1 &
started+=($!)
for ((n = 0; n < executors; n++)); do
    mkdir "$work/executor-$n"
    "$bin/asof-executor" \
        --bind-host 127.0.0.1 --external-host 127.0.0.1 \
        --bind-port "${ports[1 + 3 * n]}" --bind-grpc-port "${ports[2 + 3 * n]}" \
        --bind-health-port "${ports[3 + 3 * n]}" \
        --scheduler-host 127.0.0.1 --scheduler-port "$scheduler_port" \
        --scheduler-connect-timeout-seconds 30 --executor-heartbeat-interval-seconds 2 \
        --vcores "$vcores" --work-dir "$work/executor-$n" \
        >"$work/executor-$n.log" 2>&1 &
    started+=($!)
done

ready() { (exec 3<>"/dev/tcp/127.0.0.1/$scheduler_port") 2>/dev/null &&
    curl -fsS "http://127.0.0.1:$scheduler_port/readyz" >/dev/null 2>&1; }
for ((tries = 0; ; tries++)); do
    if ready; then break; fi
    if ((tries > 300)); then
        echo "the cluster is not ready after 30 s:" >&2
        tail -n 20 "$work"/*.log >&2
        exit 1
    fi
    sleep 0.1
done

export ASOF_CLUSTER="df://127.0.0.1:$scheduler_port"
export PATH="$bin:$PATH"
echo "cluster: $ASOF_CLUSTER, $executors executors of $vcores vcores"
if (($# > 0)); then
    eval "$*"
else
    "$bin/asof" --cluster "$ASOF_CLUSTER" -f crates/asof-cli/demo/demo.sql
fi
