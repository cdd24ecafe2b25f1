"""With this folder on PYTHONPATH a process reaches no network, only this machine: the course, and
the kernels that run it, must do without."""
import socket

reach = socket.socket.connect


def connect(self, address):
    away = self.family in (socket.AF_INET, socket.AF_INET6) and \
        address[0] not in ("127.0.0.1", "::1", "localhost")
    if away:
        raise OSError(f"The network is blocked: nothing may connect to {address}.")
    return reach(self, address)


socket.socket.connect = connect
