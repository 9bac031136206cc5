# Written by Farmlet. Space and jobs, for a person at a terminal; with ~/.hushlogin nothing is shown.
if [ -n "${SSH_TTY-}" ] && [ "${SHLVL:-1}" = 1 ] && [ -z "${TMUX-}" ] && [ ! -e "$HOME/.hushlogin" ]; then
  case $- in *i*) (
    exec 2>/dev/null < /dev/null
    awk -v name="$(id -un)" '$1 == name { kind = $2; sub(/^[^ ]+ [^ ]+ /, ""); printf "  %-8s %s\n", kind, $0 }' {{ usage }}
    if command -v condor_q > /dev/null; then
      # `query` is what the member has in the queue
      timeout -s KILL 0.2 condor_q -totals | awk '
        /^Total for query:/ { for (i = 6; i < NF; i += 2) count[$(i + 1)] = $i; found = 1; all = $4 }
        END {
          if (!found) words = "the queue does not answer just now"
          else if (!all) words = "none"
          else words = sprintf("%d idle, %d running, %d held", count["idle,"], count["running,"], count["held,"])
          printf "  %-8s %s\n", "jobs", words
        }'
    fi
    echo
  ) ;; esac
fi
