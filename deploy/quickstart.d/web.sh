#!/bin/sh
# The whole web server of the quick start: one page that says which pod it came from.
set -eu
mkdir -p /www
echo "Hello from Threeport. This page was served by pod ${HOSTNAME:-unknown}." >/www/index.html
exec httpd -f -p 8080 -h /www
