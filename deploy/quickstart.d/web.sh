#!/bin/sh
# The whole web server of the quick start: one page that says which pod it came from.
set -eu
mkdir -p /www
echo "Hello from Threeport. This page was served by pod ${HOSTNAME:-unknown}." >/www/index.html
# The first process of a container gets no default signal handling: without the trap a pod would take its whole grace period to end.
trap 'exit 0' TERM
httpd -f -p 8080 -h /www &
wait
