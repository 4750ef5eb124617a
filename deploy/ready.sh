#!/bin/bash
# The health check of a service's container: succeeds when the service in it says that all of its parts are up. So
# `docker compose up --wait` waits for the whole system. A balancer asks /health/ready instead, and what restarts a
# service that hangs asks /health/live.
# In bash, because a slim image has no curl.
exec 3<>"/dev/tcp/127.0.0.1/${OPERATIONS_LISTEN##*:}" || exit 1
printf 'GET /health/parts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r _ status _ <&3
[[ $status == 200 ]]
