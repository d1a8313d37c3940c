"""Stand where vLLM's server would: take its command, and answer /health from a while after the start.

VLLM_STARTS_IN is that while in seconds, VLLM_FAILS ends it before it answers. Its process is vllm.pid in VLLM_FOLDER.
"""

import http.server
import os
import signal
import sys
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer whether the server is well."""

    def do_GET(self) -> None:
        """Answer a question after /health, and nothing else."""
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()


assert sys.argv[1] == "serve"
time.sleep(float(os.environ.get("VLLM_STARTS_IN", "0")))
if os.environ.get("VLLM_FAILS"):
    sys.exit("no GPU is free")
port = int(sys.argv[sys.argv.index("--port") + 1])
with http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler) as server:
    (Path(os.environ["VLLM_FOLDER"]) / "vllm.pid").write_text(str(os.getpid()), encoding="utf-8")
    print("serving", sys.argv[2], "on", port, os.environ["SLURM_NODELIST"], flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as vLLM's own server does
    server.serve_forever()
