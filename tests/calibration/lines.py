"""A client that stays: asks an echo a hundred times a second over one connection, and prints a line per answer."""

import socket
import sys
import time

with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    due_s = time.monotonic()
    while True:
        connection.sendall(b"x")
        if not connection.recv(1):
            sys.exit("closed")
        print("answered", flush=True)
        due_s = max(due_s + 0.01, time.monotonic())
        time.sleep(due_s - time.monotonic() if due_s > time.monotonic() else 0)
