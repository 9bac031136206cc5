#!/bin/sh
# Written by Farmlet. May who logs in still? The control node asks the issuer; where nobody can say, they may.
[ "${PAM_TYPE-}" = account ] || exit 0
said=$(
  printf %s "$PAM_USER" |
    curl -s --connect-timeout 2 --max-time 5 --cacert /etc/farmlet/ca.pem --cert /etc/farmlet/tls/node.crt \
      --key /etc/farmlet/tls/node.key -H 'Content-Type: text/plain' --data-binary @- -w '%{http_code}' {{ url }}/accounts/login
) || exit 0
[ "${said##*"
"}" = 200 ] || exit 0
echo "${said%"
"*}"
exit 1
