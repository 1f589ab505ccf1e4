"""Nchan, the peer for fan-out: a module of nginx, in C, that keeps messages in memory. Skipped where it is not installed."""

import shutil
import socket
import time
from pathlib import Path

from benchmarks.machine import cores
from benchmarks.processes import BenchError, Child

_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_PROGRAM_PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_START_SECONDS = 5.0
ABSENT = "nginx with the nchan module is not installed (Debian: nginx-light, libnginx-mod-nchan)"

_CONFIG = """
load_module {module};
daemon off;
worker_processes 1;
{affinity}
pid {directory}/nchan.pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 15000; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  nchan_shared_memory_size 256M;
  client_body_temp_path {directory}/nchan-body;
  proxy_temp_path {directory}/nchan-proxy;
  fastcgi_temp_path {directory}/nchan-fastcgi;
  uwsgi_temp_path {directory}/nchan-uwsgi;
  scgi_temp_path {directory}/nchan-scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ /pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 10000; }}
    location ~ /sub/(\\w+)$ {{
      nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


def is_installed() -> bool:
    """Whether there is an Nchan to compare with."""
    return _MODULE.is_file() and _program() is not None


class Nchan(Child):
    """An nginx of our own: one worker on the servers' core, everything in the directory. Publish to `/pub/x`, follow
    `/sub/x`."""

    def __init__(self, directory: Path) -> None:
        self.port = _free_port()
        config = directory / "nchan.conf"
        core = cores()
        affinity = "" if core is None else f"worker_cpu_affinity {1 << core[0]:b};"
        config.write_text(_CONFIG.format(module=_MODULE, directory=directory.absolute(), port=self.port, affinity=affinity))
        command = [_program() or "nginx", "-c", str(config.absolute()), "-p", str(directory.absolute()), "-e", "stderr"]
        super().__init__(directory, "nchan", command)

    def start(self) -> None:
        """Start it and wait until it accepts."""
        super().start()
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self.process.poll() is not None:
                    self.read_line()  # raises with what it said
                if time.monotonic() > deadline:
                    raise BenchError("nginx did not start to listen") from None
                time.sleep(0.02)
            else:
                return


def _program() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path=_PROGRAM_PLACES)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
