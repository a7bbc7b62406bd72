#!/bin/sh
# keepalived's check of pgha: exit code 0 on the node that leads, something else everywhere else.
# A daemon that is dead, hangs or is stopped, and a port on which nobody listens, are "something else" too.
#
#   check_pgha.sh            the primary
#   check_pgha.sh /replica   a standby: for an address to read from
#
# With TLS on the port: PGHA_URL=https://127.0.0.1:8008 and -k below, or --cacert with a name of the certificate.
exec /usr/bin/curl --fail --silent --output /dev/null --max-time 1 "${PGHA_URL:-http://127.0.0.1:8008}${1:-/primary}"
