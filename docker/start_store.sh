#!/bin/sh
# SeaweedFS as one S3 endpoint. Master, volume and filer ask for no password, so they listen on loopback alone;
# the S3 gateway, which does, is the one door. MLflow's own identity reaches MLflow's bucket and nothing else.
set -eu

for value in "$S3_ACCESS_KEY" "$S3_SECRET_KEY" "$MLFLOW_S3_ACCESS_KEY" "$MLFLOW_S3_SECRET_KEY"; do
    case "$value" in
        "" | *[!A-Za-z0-9_-]*)
            echo "S3 keys may hold letters, digits, - and _ only, and may not be empty" >&2
            exit 1
            ;;
    esac
done

umask 077
config="${STORE_CONFIG:-$(mktemp)}"
cat >"$config" <<JSON
{
  "identities": [
    {
      "name": "pipeline",
      "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
      "actions": ["Admin"]
    },
    {
      "name": "mlflow",
      "credentials": [{"accessKey": "$MLFLOW_S3_ACCESS_KEY", "secretKey": "$MLFLOW_S3_SECRET_KEY"}],
      "actions": ["Read:medillus-mlflow", "Write:medillus-mlflow", "List:medillus-mlflow", "Tagging:medillus-mlflow"]
    }
  ]
}
JSON

weed server -dir=/data -ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -volume.max=0 -master.volumeSizeLimitMB=1024 &
server=$!
weed s3 -filer=127.0.0.1:8888 -ip.bind=0.0.0.0 -port=8333 -config="$config" &
gateway=$!
trap 'kill "$server" "$gateway"' TERM INT
while kill -0 "$server" 2>/dev/null && kill -0 "$gateway" 2>/dev/null; do
    sleep 2
done
kill "$server" "$gateway" 2>/dev/null || true
exit 1
