"""A web service: a net answers on eight threads, with nothing but the standard library.

POST /predict takes {"rows": [[784 numbers], ...]}, pixels from 0 to 255, and gives {"classes": [...], "logits": [...]}.
What is no such thing gets 400 and a sentence. The threads share one `Predictor`: it packs the weights once, and the
logits are the same to the last bit whoever asks, and however many do.

    python examples/web_service.py                 one client, then eight at once, and how many answers a second
    python examples/web_service.py --port 8000     serves until Ctrl-C
"""

import argparse
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import perf_counter
from typing import Any

import numpy as np

import fastmlp as fm

THREADS = 8
MOST = 8 << 20  # bytes of a question
ASKED = 100  # questions of each client


class Service(HTTPServer):
    """Answers each question on one of `THREADS` threads."""

    request_queue_size = 128  # connections not yet accepted; beyond the usual 5 clients wait a second, or are refused

    def __init__(self, port: int, predictor: fm.Predictor) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.predictor, self.pool = predictor, ThreadPoolExecutor(THREADS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread, and accept the next."""
        self.pool.submit(self.answer, request, client_address)

    def answer(self, request: Any, client_address: Any) -> None:
        """One question and its answer."""
        try:
            self.finish_request(request, client_address)
        except OSError:  # who asked has gone
            pass
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Accept no more; the answers that are on their way are given."""
        super().server_close()
        self.pool.shutdown()


class Handler(BaseHTTPRequestHandler):
    """The conversation with a client: HTTP/1.0, a connection a question, so that no idle client holds a thread."""

    server: Service
    timeout = 10  # seconds that a client may be silent

    def do_POST(self) -> None:
        """Classes and logits of the rows."""
        if self.path != "/predict":
            return self.say(404, {"error": f"{self.path} is not here; /predict is"})
        try:
            rows = self.rows()
        except ValueError as error:
            return self.say(400, {"error": str(error)})
        z = self.server.predictor(rows)
        self.say(200, {"classes": z.argmax(axis=1).tolist(), "logits": z.tolist()})

    def rows(self) -> np.ndarray:
        """The rows that are asked about, (N, features) float32. Error: ValueError says what is wrong with them."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST:
            raise ValueError(f"Content-Length is {length or 'not given'}; it must be a number of bytes up to {MOST}")
        try:
            question = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the body is no JSON: {error}") from error
        if not isinstance(question, dict) or set(question) != {"rows"}:
            raise ValueError('the body must be {"rows": [[numbers], ...]}')
        try:
            given = np.array(question["rows"])
        except ValueError:
            raise ValueError("rows are of different lengths") from None
        wanted = self.server.predictor.features
        if given.ndim != 2 or given.shape[1] != wanted or given.dtype.kind not in "iuf":
            raise ValueError(f"rows are {given.shape} of {given.dtype}; they must be (N, {wanted}) of numbers")
        if not ((given >= 0) & (given <= 255)).all():  # NaN is refused, too
            raise ValueError("rows have a number that is no pixel; it must be from 0 to 255")
        return given.astype(np.float32)

    def say(self, code: int, answer: dict[str, Any]) -> None:
        """Send an answer. A float32 is the same float32 again when its JSON is read."""
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: a line for each question would take longer than the answer."""


def ask(port: int, question: Any) -> tuple[int, dict[str, Any]]:
    """(status, answer) of the service on this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict", json.dumps(question))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def trained() -> tuple[fm.Predictor, np.ndarray]:
    """A net after two epochs of MNIST, and the rows of the test set. `fm.load_model(run)` is one that is trained."""
    train, test = fm.data.mnist()
    fm.manual_seed(0)
    model = fm.nn.MLP(784, (128, 64), 10)
    fm.fit(model, train, epochs=2, seed=0, progress=False)
    return fm.Predictor(model, scale=train.scale), test.rows.astype(np.float32)


def asked_by(clients: int, port: int, rows: np.ndarray, expected: np.ndarray) -> str:
    """What so many clients at once see, each of them with questions of one row."""

    def client(number: int) -> bool:
        mine = slice(number * ASKED, (number + 1) * ASKED)
        answers = [ask(port, {"rows": [row.tolist()]}) for row in rows[mine]]
        return np.array_equal([np.array(z["logits"][0], np.float32) for _, z in answers], expected[mine])

    start = perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        right = all(pool.map(client, range(clients)))
    rate = clients * ASKED / (perf_counter() - start)
    return f"{clients} at once: {rate:,.0f} answers a second, to the bit those of Predictor: {'yes' if right else 'no'}"


def main() -> None:
    """Serve, or serve and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=None, metavar="N", help="serve on this port, 0 for any")
    port = parser.parse_args().port
    predictor, rows = trained()
    service = Service(port or 0, predictor)
    if port is not None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container's end is as Ctrl-C
        print(f"http://127.0.0.1:{service.server_port}/predict answers; Ctrl-C ends it", flush=True)
        try:
            service.serve_forever()
        except KeyboardInterrupt:
            print("no more questions", flush=True)
        finally:
            service.server_close()
        return
    threading.Thread(target=service.serve_forever, args=(0.05,)).start()
    try:
        expected = predictor(rows)
        for clients in (1, 8):
            print(asked_by(clients, service.server_port, rows, expected))
        code, answer = ask(service.server_port, {"rows": [[1, 2, 3]]})
        print(f"a row of three: {code}, {answer['error']}")
    finally:
        service.shutdown()
        service.server_close()


if __name__ == "__main__":
    main()
