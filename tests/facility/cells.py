"""What members try from a shell or a cell: programs that print JSON."""

# of every probe: what it needs, its token, and whether it reaches a port
BEGIN = """
import json, os, pathlib, socket, subprocess, sys, urllib.request
def reach(host, port):
    try:
        socket.create_connection((host, port), 2).close()
        return True
    except OSError:
        return False
token = pathlib.Path(os.environ["BEARER_TOKEN_FILE"]).read_text().strip()
"""
# what a cell prints of itself: who it is, its token's owner at storage, and whom it reaches
PROBE = (
    BEGIN
    + """
request = urllib.request.Request("https://head.{domain}:8443/users/{name}/note", headers={{"Authorization": "Bearer " + token}})
print(json.dumps({{
    "id": subprocess.check_output(["id"], text=True).strip(),
    "home": str(pathlib.Path.home()),
    "note": urllib.request.urlopen(request, timeout=20).read().decode(),
    "image": pathlib.Path("/etc/farmlet-image").read_text().strip(),
    "socket": pathlib.Path("/run/docker.sock").exists(),
    "reached": [port for port in (443, 880, 881, 882, 2375, 2019) if reach("{gateway}", port)],
    "metadata": reach("169.254.169.254", 80),
    "software": subprocess.run(["python3", "-c", "import dask.distributed, jupyterlab_git, jupyter_resource_usage"]).returncode,
    "git": subprocess.check_output(["git", "--version"], text=True).split()[0],
    "capabilities": [line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1],
}}))
"""
)
# two terminals, a program in one of which prints nothing, and what is left when idle ones are looked for
IDLE = """
import asyncio, json, logging
from pathlib import Path
from traitlets.config import Config
logging.disable()
config = Config()
names = {"get_config": lambda: config, "__file__": "/opt/farmlet/notebook/config/jupyter_server_config.py"}
exec(Path("/opt/farmlet/notebook/config/jupyter_server_config.py").read_text(), names)
async def look():
    manager = names["Terminals"](shell_command=["sh"], cull_inactive_timeout=1, cull_interval=3600)
    busy, idle = manager.create()["name"], manager.create()["name"]
    manager.terminals[busy].ptyproc.write("sleep 60 > /dev/null\\n")
    await asyncio.sleep(2.5)
    await manager._cull_terminals()
    kept = [each["name"] for each in manager.list()]
    await manager.terminate_all()
    return {"kept": kept == [busy], "used": config.TerminalsExtensionApp.terminal_manager_class is names["Terminals"]}
told = await look()
print(json.dumps(told))
"""
# what VS Code listens on, and what keeps its server from ending
EDITOR = """
import json, pathlib, psutil, sys
sys.path.append("/opt/farmlet/notebook/python")
import farmlet_editor
(socket,) = pathlib.Path("/tmp").glob("jupyter-server-proxy-*/socket")
node = [one for one in psutil.process_iter(["exe"]) if str(one.info["exe"]).startswith("/opt/farmlet/editor/")]
busy = [child.name() for shell in farmlet_editor.find_busy() for child in psutil.Process(shell).children()]
print(json.dumps({
    "folder": oct(socket.parent.stat().st_mode), "socket": oct(socket.stat().st_mode), "owner": socket.parent.owner(),
    "ports": [found.laddr.port for one in node for found in one.net_connections() if found.status == "LISTEN"],
    "busy": busy, "idle": farmlet_editor.Editor().current_activity() is None,
}))
"""
# a job sent by condor_submit and one by the Python bindings, and what the queue and the pool say
JOBS = """
import htcondor2, json, os, pathlib, subprocess, time
def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() if not done.returncode else f"{words}: {done.stdout} {done.stderr}"
os.makedirs("sent", exist_ok=True)
os.chdir("sent")
pathlib.Path("job.sub").write_text('''executable = /usr/bin/id
arguments = -un
transfer_executable = false
+WantLocal = true
request_memory = 100
output = job.out
log = job.log
queue
''')
text = pathlib.Path("job.sub").read_text().replace("job.out", "bound.out").replace("queue", "")
said = run("condor_submit", "-terse", "job.sub")
number = said.split(".")[0]
schedd = htcondor2.Schedd()
bound = str(schedd.submit(htcondor2.Submit(text)).cluster())
owners = run("condor_q", number, bound, "-af", "Owner").split()
done = run("condor_wait", "-wait", "120", "job.log")
print(json.dumps({
    "said": said, "owners": owners, "waited": done, "out": [pathlib.Path(name).read_text() for name in ("job.out", "bound.out")],
    "slots": bool(run("condor_status", "-af", "Name")),
}))
"""
# what a cell of somebody else's notebook gets of nora's: statuses, 0 where nothing answers
NEIGHBOUR = """
import json, os, pathlib, socket, urllib.error, urllib.request
def ask(url):
    request = urllib.request.Request(url, headers={{"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}})
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
hub = "https://notebooks.{domain}"
print(json.dumps({{
    "own": ask(hub + "/hub/api/user"),
    "server": ask(hub + "/user/{name}/api/contents"),
    "past the proxy": ask("http://{address}:8888/user/{name}/api"),
    "dask": ask("http://{address}:8786/"),
    "user": ask(hub + "/hub/api/users/{name}"),
    "users": ask(hub + "/hub/api/users"),
    "proxy": ask(hub + "/hub/api/proxy"),
    "caddy": ask("http://{gateway}:2019/config/"),
    "docker": ask("http://{gateway}:2375/containers/json"),
    "link-local": ask("http://169.254.169.254/"),
    "database": pathlib.Path("/var/lib/farmlet/notebooks").exists(),
    "settings": pathlib.Path("/etc/farmlet").exists(),
    "tokens": [path.name for path in pathlib.Path("/run/farmlet-tokens").iterdir()],
}}))
"""
# from a shell on the node, of what belongs to others or to root: HTTP statuses, errors of the system by name, "" for success
SHELL = """
import errno, json, socket, urllib.error, urllib.request
def ask(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
def reach(host, port):
    try:
        socket.create_connection((host, port), 5).close()
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
    return ""
def read(path):
    try:
        open(path).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""
print(json.dumps({{
    "the Hub's API": ask("http://127.0.0.1:882/hub/api/users"),
    "the proxy's API": ask("http://127.0.0.1:881/api/routes"),
    "the Hub's database": read("/var/lib/farmlet/notebooks/hub.sqlite3"),
    "the Hub's settings": read("/etc/farmlet/notebooks/settings.json"),
    "Docker": read("/run/docker.sock"),
    "a server past the proxy": reach("{address}", 8888),
    "its Dask": reach("{address}", 8786),
    "link-local": reach("169.254.169.254", 80),
}}))
"""
REFUSED = {
    "the Hub's API": 403,
    "the proxy's API": 403,
    "the Hub's database": "EACCES",
    "the Hub's settings": "EACCES",
    "Docker": "EACCES",
    "a server past the proxy": "ECONNREFUSED",
    "its Dask": "ECONNREFUSED",
    "link-local": "EACCES",
}
# Dask's processes in a cell, and a scheduler that listens for others too and outlives the cell
DASK = """
import json, socket, subprocess, sys, time
from dask.distributed import Client, LocalCluster
usual = {"threads_per_worker": 1, "memory_limit": "200MB", "dashboard_address": None}
with LocalCluster(n_workers=2, **usual) as cluster, Client(cluster) as client:
    total = client.submit(sum, range(10)).result(timeout=60)
    pids = set(client.run(__import__("os").getpid).values())
code = "import time; from dask.distributed import LocalCluster as C; " \\
    "c = C(host='0.0.0.0', scheduler_port=8786, n_workers=0, dashboard_address=None); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
for _ in range(150):
    if not socket.socket().connect_ex(("127.0.0.1", 8786)):
        break
    time.sleep(0.2)
else:
    raise SystemExit("Dask does not listen")
print(json.dumps({"total": total, "processes": len(pids)}))
"""
# two of Jupyter's servers whose hours are seconds: where nothing runs, and where a kernel works for a while and nobody looks
SERVERS = """
import json, os, pathlib, subprocess, sys, time, urllib.request, websocket
PROGRAM = '''
import sys, tornado.ioloop as loop
class Often(loop.PeriodicCallback):  # Jupyter looks each minute, and at kernels each five
    def __init__(self, callback, milliseconds, *more):
        super().__init__(callback, min(milliseconds, 300), *more)
loop.PeriodicCallback = Often
from jupyter_server.serverapp import main
main(sys.argv[1:])
'''
def begin(port):
    words = ["--no-browser", f"--ServerApp.port={{port}}", "--IdentityProvider.token=x", *{options}]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stderr=open(f"server-{{port}}", "w"))
def ask(method, path):
    request = urllib.request.Request(f"http://127.0.0.1:9102/api/{{path}}", headers={{"Authorization": "token x"}}, method=method)
    for _ in range(100):
        try:
            return json.load(urllib.request.urlopen(request, data=b"{{}}" if method == "POST" else None, timeout=5))
        except OSError:
            time.sleep(0.2)
idle, busy, late = begin(9101), begin(9102), pathlib.Path("late")
late.unlink(missing_ok=True)
kernel = ask("POST", "kernels")["id"]
channel = websocket.create_connection(f"ws://127.0.0.1:9102/api/kernels/{{kernel}}/channels", header=["Authorization: token x"])
header = {{"msg_id": "one", "msg_type": "execute_request", "username": "", "session": "one", "version": "5.3"}}
content = {{"code": "import time; time.sleep(9); open('late', 'w').close()", "silent": False}}
channel.send(json.dumps({{"header": header, "parent_header": {{}}, "metadata": {{}}, "content": content, "channel": "shell"}}))
while json.loads(channel.recv())["msg_type"] != "execute_input":
    pass
channel.close()
first = idle.wait(60), busy.poll(), late.exists()
second = busy.wait(60), late.exists()
print(json.dumps([first, second]))
"""
