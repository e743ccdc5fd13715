"""nginx in front of the servers of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.requirements import require_program
from tests.support.servers.process import Server, accepts

_CONFIG = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {http}
}}
"""


@contextmanager
def running(folder: Path, port: int, http: str) -> Iterator[None]:
    """Run nginx with its files in a folder and these directives in `http`, which listen on the port."""
    nginx = require_program("nginx", "apt-get install nginx-light")
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, http=http))
    command = [nginx, "-c", str(config), "-e", str(folder / "error.log")]
    with Server(command, folder=folder, ready=lambda: accepts(port)):
        yield
