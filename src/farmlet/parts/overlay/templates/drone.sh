#!/bin/bash
# A drone: turns this batch slot of a site into a slot of the facility's pool, as the plain user it is started as.
#
# Arguments: from TARDIS --cores --memory (MiB) --disk (KiB) --uuid; from the facility --collector --trust --site
# --image --certificates --credential --walltime (s) --idle (s); --cvmfs (repositories, with colons between them) if there are any;
# --software (URL of what the facility publishes) and --cache (MiB of it) if that can be fetched. Beside it lie the token as
# <uuid>.token, starter.py, mounts.sh for --cvmfs, published.py and facility.pem for --software.
set -euo pipefail
umask 077
export PATH=/usr/bin:/bin:/usr/sbin:/sbin

# what it says here, the facility's admin finds in `farmlet status`
die() { echo "drone: $(uname -n): $*" >&2; exit 1; }

declare -A arg
for word in "$@"; do
  case $word in
    --*=*) name=${word%%=*}; arg[${name#--}]=${word#*=} ;;
    *) die "argument $word is not --name=value" ;;
  esac
done
for name in cores memory disk uuid collector trust site image certificates credential walltime idle; do
  [[ -n ${arg[$name]:-} ]] || die "argument --$name is missing"
  [[ ${arg[$name]} =~ ^[A-Za-z0-9._:/-]+$ ]] || die "argument --$name has characters that do not belong there"
done
scratch=${_CONDOR_SCRATCH_DIR:-$PWD}
token=$scratch/${arg[uuid]}.token
[[ -s $token ]] || die "no token at $token"

for name in bwrap apptainer python3; do
  command -v "$name" > /dev/null || die "this host has no $name"
done

# Where this site keeps HTCondor differs between distributions; its own configuration knows. Nothing else is taken over.
declare -A place
for name in BIN SBIN LIB LIBEXEC SHARE; do
  place[$name]=$(condor_config_val "$name") || die "the site's HTCondor does not say where its $name is"
done

home=$scratch/overlay
mkdir -p "$home"/{log,spool,execute,lock,run,tokens.d,passwords.d,images}
mv "$token" "$home/tokens.d/overlay" # the only copy in this slot
install -m 700 "$scratch/starter.py" "$home/starter"

# Where the facility's part of /cvmfs is not there, it is fetched: the certificates now, each image when a job names it. Drones on
# a host share what they have of it. Jobs see it at the same paths; what fetches for them runs out here, where they do not reach.
image=${arg[image]} fetched='' own=${arg[certificates]%/*} hooks='' expression=''
if [[ -n ${arg[software]:-} ]] && ! timeout -k 1 20 ls "${arg[certificates]}/bundle.pem" > /dev/null 2>&1; then
  [[ ${arg[software]} =~ ^https://[A-Za-z0-9._:/-]+$ && ${arg[cache]:-} =~ ^[0-9]+$ ]] || die "arguments --software and --cache are odd"
  cp "$scratch/published.py" "$scratch/facility.pem" "$home/images/"
  fetched=/var/tmp/farmlet-${arg[trust]}-$(id -u)
  mkdir -p "$fetched" 2> /dev/null || true
  # a name that anybody could have taken
  [[ -d $fetched && ! -L $fetched && -O $fetched && -w $fetched && $(stat -c %a "$fetched") = 700 ]] || fetched=$home/fetched
  published() {
    python3 -I "$home/images/published.py" "$1" "${arg[software]}" "$home/images/facility.pem" "$fetched" \
      $((arg[cache] << 20)) "${@:2}"
  }
  said=$(published unpack "$own" "$home/published" 2>&1) || die "no $own here, and it was not fetched: ${said##*$'\n'}"
  image=$(published get "${arg[image]}" 2>&1) || die "no ${arg[image]} here, and it was not fetched: ${image##*$'\n'}"
  (cd "$home/images" && exec setpriv --pdeathsig KILL python3 -I published.py serve "${arg[software]}" facility.pem "$fetched" \
    $((arg[cache] << 20)) images.sock > /dev/null 2> "$home/log/images") &
  printf '#!/bin/sh\nexec python3 -I %q hook %q %q\n' "$home/images/published.py" "$home/images" "${arg[image]}" > "$home/images/hook"
  chmod 700 "$home/images/hook"
  hooks="STARTER_JOB_HOOK_KEYWORD = FARMLET
FARMLET_HOOK_PREPARE_JOB_BEFORE_TRANSFER = $home/images/hook"
  expression='TARGET.FarmletImageFile ?: '
fi

# Image files (.sif) are mounted, so that a job in one begins at once. Where Apptainer would unpack them, for many seconds and for
# each job anew, none are taken. HTCondor's own test of such images needs one that Debian does not ship.
sif=False
for name in squashfuse_ll squashfuse /usr/libexec/apptainer/bin/squashfuse_ll; do
  if command -v "$name" > /dev/null && [[ -c /dev/fuse ]] && (: <> /dev/fuse) 2> /dev/null; then sif=True; fi
done

cat > "$home/condor_config" <<EOF
RELEASE_DIR = /usr
BIN = ${place[BIN]}
SBIN = ${place[SBIN]}
LIB = ${place[LIB]}
LIBEXEC = ${place[LIBEXEC]}
SHARE = ${place[SHARE]}
LOCAL_DIR = $home
LOG = $home/log
SPOOL = $home/spool
EXECUTE = $home/execute
# HTCondor's own, in namespaces that show it one job and nothing of the drone
STARTER = $home/starter
LOCK = $home/lock
RUN = $home/run
use security:recommended_v9_0

CONDOR_HOST = ${arg[collector]%%:*}
COLLECTOR_HOST = ${arg[collector]}
TRUST_DOMAIN = ${arg[trust]}
UID_DOMAIN = ${arg[trust]}
FILESYSTEM_DOMAIN = ${arg[uuid]}
SEC_TOKEN_DIRECTORY = $home/tokens.d
SEC_TOKEN_SYSTEM_DIRECTORY = $home/tokens.d
SEC_PASSWORD_DIRECTORY = $home/passwords.d
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, IDTOKENS
SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS, FS
# whose jobs run here is nobody's business at the site
SEC_READ_AUTHENTICATION = REQUIRED
SEC_READ_AUTHENTICATION_METHODS = FS, IDTOKENS
SEC_READ_INTEGRITY = REQUIRED
SEC_READ_ENCRYPTION = REQUIRED
ALLOW_READ = overlay@${arg[trust]}

DAEMON_LIST = MASTER, STARTD
USE_SHARED_PORT = True
# any free port: several drones share a host
SHARED_PORT_PORT = 0
# nothing needs to reach the site from outside: connections are asked for through the collector
CCB_ADDRESS = \$(COLLECTOR_HOST)
ENABLE_KERNEL_TUNING = False
# a job that is given up, or whose access point is gone, does not keep the slot longer than this (s); the default is 600
MachineMaxVacateTime = 60

# TARDIS finds its drone by the uuid, members see where they run by the site
MASTER_NAME = ${arg[uuid]}
STARTD_NAME = ${arg[uuid]}
TardisDroneUuid = "${arg[uuid]}"
FarmletSite = "${arg[site]}"
STARTD_ATTRS = \$(STARTD_ATTRS) TardisDroneUuid FarmletSite
NUM_CPUS = ${arg[cores]}
MEMORY = ${arg[memory]%%.*}
use feature:PartitionableSlot
UPDATE_INTERVAL = 10
# benchmarks would make the slot look busy to TARDIS
RunBenchmarks = False

# What would run outside of the payload's container has nothing to look for there: access points refuse it in words
# (access.config), as they do images that are no files. The starter's namespaces are what keeps it harmless: an expression can be
# undefined here and a command there.
START = TARGET.PreCmd =?= undefined && TARGET.PreArguments =?= undefined && TARGET.PostCmd =?= undefined && \\
  TARGET.ToolDaemonCmd =?= undefined && TARGET.TransferPlugins =?= undefined && \\
  TARGET.WantLocal =!= True && TARGET.WantDocker =!= True && TARGET.DockerImage =?= undefined
ENABLE_SSH_TO_JOB = False
SUSPEND = False
PREEMPT = False
# a drained drone lets its job finish
MAXJOBRETIREMENTTIME = ${arg[walltime]}
# it ends by itself when nobody uses it, should TARDIS be gone
STARTD_NOCLAIM_SHUTDOWN = ${arg[idle]}

SINGULARITY = $(command -v apptainer)
SINGULARITY_JOB = True
SINGULARITY_RUN_TEST_BEFORE_JOB = False
HasSIF = $sif
STARTD_ATTRS = \$(STARTD_ATTRS) HasSIF
SINGULARITY_IMAGE_EXPR = ${expression}TARGET.SingularityImage ?: TARGET.ContainerImage ?: "${arg[image]}"
# who removes old images sees here what runs in one
STARTD_JOB_ATTRS = \$(STARTD_JOB_ATTRS) ContainerImage SingularityImage
SINGULARITY_TARGET_DIR = /srv
$hooks
SINGULARITY_BIND_EXPR = "/cvmfs:/cvmfs:ro"
# Apptainer would have a shell evaluate the job's environment
STARTER_JOB_ENVIRONMENT = "APPTAINER_NO_EVAL=1 X509_CERT_DIR=${arg[certificates]} SSL_CERT_FILE=${arg[certificates]}/bundle.pem BEARER_TOKEN_FILE=/srv/.condor_creds/${arg[credential]}.use"
# the starter fetches renewed credentials this often (s); the default is 300
SEC_CREDENTIAL_REFRESH = 30

use policy:HOLD_IF_MEMORY_EXCEEDED
use policy:HOLD_IF_DISK_EXCEEDED
HOLD_REASON_DISK_EXCEEDED = disk usage exceeded request_disk
PID_SNAPSHOT_INTERVAL = 3
# each job asks every plug-in what it fetches: those of commercial clouds take longer than a short job
FILETRANSFER_PLUGINS = \$(LIBEXEC)/curl_plugin, \$(LIBEXEC)/data_plugin
STARTER_INITIAL_UPDATE_INTERVAL = 2
STARTER_UPDATE_INTERVAL = 5
EOF

# A clean environment: neither the site's HTCondor context nor the account's variables reach the drone or its jobs.
clean=(env -i PATH="$PATH" HOME="$home" CONDOR_CONFIG="$home/condor_config"
  FARMLET_STARTER="${place[SBIN]}/condor_starter" FARMLET_SHOWN="${place[*]}"
  FARMLET_FETCHED="$fetched" FARMLET_OWN="${fetched:+$own}")

# A host that cannot keep jobs apart from drones and their account, or run containers all the same, must not run members' jobs.
try='for path in "$1" "$2"; do [ ! -e "$path" ] || { echo "$path is seen there"; exit 1; }; done
exec apptainer -s exec --containall "$3" true'
tokens=$(getent passwd "$(id -u)" | cut -d : -f 6 || true)/farmlet-${arg[trust]}
said=$("${clean[@]}" "$home/starter" --try sh -c "$try" try "$home/tokens.d" "$tokens" "$image" 2>&1 < /dev/null) ||
  die "this host cannot run ${arg[image]} in namespaces of its own: ${said##*$'\n'}"

# Which of the CVMFS repositories a job would see, each under our name and the one that other pools have for it. What the site does
# not mount, its client does for this drone, where it is there and FUSE lets it.
if [[ -n ${arg[cvmfs]:-} ]]; then
  [[ ${arg[cvmfs]} =~ ^[a-z0-9._:-]+$ ]] || die "argument --cvmfs has characters that do not belong there"
  IFS=: read -ra repositories <<< "${arg[cvmfs]}"
  look() {
    local names='for name; do { timeout -k 1 20 ls -A "/cvmfs/$name" 2> /dev/null | grep -q . && echo "$name"; } & done; wait'
    seen=$("${clean[@]}" "$home/starter" --try sh -c "$names" look "${repositories[@]}" 2> /dev/null < /dev/null) || true
  }
  look
  missing=$(printf '%s\n' "${repositories[@]}" | grep -vxF -e "${seen:-:}") || true
  if [[ -n $missing && -s $scratch/mounts.sh && -r /dev/fuse && -w /dev/fuse ]] && command -v cvmfs2 > /dev/null; then
    mkdir "$home/cvmfs"
    # shellcheck disable=SC2086
    setpriv --pdeathsig KILL unshare --user --map-root-user --mount --propagation slave --pid --fork --kill-child \
      bash "$scratch/mounts.sh" "$home" $missing > "$home/log/mounts" 2>&1 < /dev/null &
    holder=$!
    for ((waited = 0; waited < 600; waited++)); do
      if [[ -e $home/cvmfs/ready ]] || ! kill -0 "$holder" 2> /dev/null; then break; fi
      sleep 0.1
    done
    if [[ -e $home/cvmfs/ready ]]; then
      clean+=(FARMLET_HOLDER="$holder")
      look
    fi
  fi
  for name in "${repositories[@]}"; do
    has=False
    if grep -qxF -- "$name" <<< "$seen"; then has=True; fi
    for attribute in "HasCVMFS_${name//[.-]/_}" "HAS_CVMFS_${name//[.-]/_}"; do
      printf '%s = %s\nSTARTD_ATTRS = $(STARTD_ATTRS) %s\n' "$attribute" "$has" "$attribute" >> "$home/condor_config"
    done
  done
fi

"${clean[@]}" timeout --foreground --signal=QUIT --kill-after=30 "${arg[walltime]}" condor_master -f &
pid=$!
# Being removed leaves no time for jobs to finish: QUIT stops at once and the pool starts them elsewhere.
trap 'removed=1; kill -QUIT $pid' TERM INT QUIT
while :; do
  rc=0
  wait "$pid" || rc=$?
  kill -0 "$pid" 2> /dev/null || break
done
# a drone that ends at once is a reason not to order the next one there
[[ $rc = 0 || -n ${removed:-} || $SECONDS -ge 60 ]] ||
  (die "HTCondor ended with $rc: $(tail -n 1 "$home/log/MasterLog" 2> /dev/null)") || true
exit "$rc"
