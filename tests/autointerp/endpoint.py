"""A real HTTP server on loopback that speaks the chat protocol, and misbehaves on request."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-very-secret-0123456789"


class Server(ThreadingHTTPServer):
    """Answers chat completions with `script(number of the request, body)`: (status, headers, body) or a dict."""

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.requests, self.lock, self.busy, self.peak = script, [], threading.Lock(), 0, 0
        threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append((body, dict(self.headers)))
            number = len(self.server.requests)
            self.server.busy += 1
            self.server.peak = max(self.server.peak, self.server.busy)
        found = self.server.script(number, body)
        with self.server.lock:
            self.server.busy -= 1
        if found is None:  # the server dies in the middle of a request
            self.close_connection = True
            self.connection.close()
            return
        status, headers, text = found if isinstance(found, tuple) else (200, {}, json.dumps(found))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def completion(text, refusal=None, finish="stop", logprobs=None) -> dict:
    """A chat completion."""
    message = dict(role="assistant", content=text, refusal=refusal)
    return dict(id="x", object="chat.completion", created=0, model="tiny",
                choices=[dict(index=0, message=message, finish_reason=finish, logprobs=logprobs)])


def ask_for(*texts) -> list:
    """Prompts."""
    return [[dict(role="user", content=text)] for text in texts]
