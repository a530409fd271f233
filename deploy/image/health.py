"""Exit with 0 if the server in this container answers: its HEALTHCHECK. The image has no curl."""

import http.client
import os
import sys

# A dialect's own port, where one is named.
listen = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PALIMP_LISTEN", ":8080")
port = int(listen.rpartition(":")[2])
# Not by a URL: that would go through the proxy of the environment.
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
try:
    connection.request("GET", "/health")
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(f"127.0.0.1:{port} does not answer: {error}")
