# SPDX-License-Identifier: Apache-2.0
"""Sends its third argument to an address by UDP; 1 when the kernel refuses."""
import socket
import sys

host, port, text = sys.argv[1:]
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), (host, int(port)))
except OSError as error:
    sys.exit(error.strerror)
print("sent")
