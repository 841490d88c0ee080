"""A collector of OpenTelemetry's spans, as far as the figures need it: what takes OTLP over HTTP and keeps name and attributes of each span."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data):
    """Number and value of each field of a protobuf message: bytes where it has a length, else an integer."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            size = {1: 8, 5: 4}[kind]
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        yield number, value


def of(data, number):
    return [value for found, value in fields(data) if found == number]


def attributes(span):
    """Texts and integers."""
    found = {}
    for pair in of(span, 9):
        key, value = of(pair, 1)[0].decode(), of(pair, 2)
        for number, said in fields(value[0]) if value else ():
            if number in (1, 3):
                found[key] = said.decode() if number == 1 else said
    return found


class Collector:
    """Listens while it is entered; `spans` are pairs of a name and its attributes."""

    def __enter__(self):
        spans = self.spans = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in of(body, 1):
                    for scope in of(resource, 2):
                        spans.extend((of(span, 5)[0].decode(), attributes(span)) for span in of(scope, 2))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_said):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_error):
        self.server.shutdown()
        self.server.server_close()
