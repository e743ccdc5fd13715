"""Three replicas behind nginx, with sessions in a Redis Cluster. Run: python -m examples.replicas

Requires nginx and redis-server. `curl http://127.0.0.1:8080 -c jar -b jar` shows which process responds.
"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI

from cartapp.session import SessionManager, SessionMiddleware, session_lifespan
from cartapp.session.fastapi import SessionDep

PORT = int(os.environ.get("PORT", "8080"))
REPLICAS = [PORT + number for number in (1, 2, 3)]
NODES = [PORT + number for number in (4, 5, 6)]
URL = f"redis+cluster://127.0.0.1:{NODES[0]}"

NGINX = """
daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
events {{ }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream replicas {{ {servers} keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""


def create_app() -> FastAPI:
    """Build the application of a replica."""
    manager = SessionManager(URL)
    app = FastAPI(lifespan=lambda _: session_lifespan(manager))
    app.add_middleware(SessionMiddleware, manager=manager)

    @app.get("/")
    async def visit(session: SessionDep) -> dict[str, int]:
        session.modify("visits", lambda visits: visits + 1, 0)
        await session.save()
        return {"visits": session["visits"], "process": os.getpid()}

    return app


def start_cluster(folder: Path, stack: ExitStack) -> None:
    """Start three Redis nodes, and join them into a cluster."""
    for port in NODES:
        data = folder / str(port)
        data.mkdir()
        run(
            stack,
            "redis-server",
            "--port",
            str(port),
            "--cluster-enabled",
            "yes",
            "--bind",
            "127.0.0.1",
            folder=data,
        )
    addresses = [f"127.0.0.1:{port}" for port in NODES]
    for address in addresses:
        ping = ["redis-cli", "-u", f"redis://{address}", "ping"]
        while subprocess.run(ping, capture_output=True).returncode:
            pass
    subprocess.run(
        ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"], check=True, capture_output=True
    )


def run(stack: ExitStack, *command: str, folder: Path) -> None:
    """Run a process until the stack is closed."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)


def main() -> None:
    """Start everything, and stop it at Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        start_cluster(folder, stack)
        for port in REPLICAS:
            app = ["examples.replicas:create_app", "--factory", "--app-dir", str(Path(__file__).parents[1])]
            run(stack, sys.executable, "-m", "uvicorn", *app, "--port", str(port), folder=folder)
        servers = " ".join(f"server 127.0.0.1:{port};" for port in REPLICAS)
        (folder / "nginx.conf").write_text(NGINX.format(servers=servers, port=PORT))
        run(stack, "nginx", "-p", str(folder), "-c", "nginx.conf", folder=folder)
        print(f"http://127.0.0.1:{PORT} (Ctrl-C stops)", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
