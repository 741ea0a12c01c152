# SPDX-License-Identifier: Apache-2.0
"""Prints for each host "host ok" or "host refused": CA-FILE PORT HOST..."""
import socket
import ssl
import sys

context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
for host in sys.argv[3:]:
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host):
                print(host, "ok")
        except ssl.SSLCertVerificationError as error:
            print(host, "refused")
            print(host, error, file=sys.stderr)
