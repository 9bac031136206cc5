# Written by Farmlet. A person at a terminal without a token is told how to have one; with ~/.hushlogin nothing is shown.
if [ -n "${SSH_TTY-}" ] && [ "${SHLVL:-1}" = 1 ] && [ -z "${TMUX-}" ] && [ ! -e "$HOME/.hushlogin" ]; then
  case $- in *i*)
    if [ "${BEARER_TOKEN_FILE-}" = "{{ places }}/$(id -un)/token" ]; then
      if [ -s "${BEARER_TOKEN_FILE%token}notice" ]; then
        printf '  storage  %s\n' "$(cat "${BEARER_TOKEN_FILE%token}notice")"
      elif [ ! -s "$BEARER_TOKEN_FILE" ]; then
        echo "  storage  no token for your sessions and jobs yet: {{ command }}"
      fi
    fi
  ;; esac
fi
