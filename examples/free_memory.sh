#!/usr/bin/env bash
# Free ComfyUI's memory: unload the models and forget cached results.
#
#   export COMFYUI_URL=http://127.0.0.1:8189 COMFYUI_API_KEY=...
#   ./free_memory.sh
#
# COMFYUI_SEND says how the key is sent: bearer (the default), basic,
# x-api-key, token, api_key or path.
#
# The key goes to curl through its standard input, so that it does not stand in
# the list of processes.
set -euo pipefail

url=${COMFYUI_URL:-http://127.0.0.1:8189}
url=${url%/}
key=${COMFYUI_API_KEY:?set COMFYUI_API_KEY}

# encode TEXT: everything but letters, digits and -._~ as %XX.
encode() {
	local i c
	for ((i = 0; i < ${#1}; i++)); do
		c=${1:i:1}
		case $c in
		[a-zA-Z0-9._~-]) printf %s "$c" ;;
		*) printf '%%%02X' "'$c" ;;
		esac
	done
}

quoted=${key//\\/\\\\}
quoted=${quoted//\"/\\\"} # as curl's configuration has it
how=
case ${COMFYUI_SEND:-bearer} in
bearer) how="header = \"Authorization: Bearer $quoted\"" ;;
basic) how="user = \"any:$quoted\"" ;;
x-api-key) how="header = \"X-API-Key: $quoted\"" ;;
token | api_key) target="$url/free?$COMFYUI_SEND=$(encode "$key")" ;;
path) target="$url/k/$(encode "$key")/free" ;;
*) echo "COMFYUI_SEND=$COMFYUI_SEND is unknown" >&2 && exit 2 ;;
esac

curl --silent --show-error --fail --config - <<-CONFIG
	url = "${target:-$url/free}"
	$how
	header = "Content-Type: application/json"
	data = "{\"unload_models\": true, \"free_memory\": true}"
CONFIG
echo "ComfyUI frees its memory."
