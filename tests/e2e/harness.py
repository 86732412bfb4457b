"""Starts a gateway on free ports and talks to it as any client would; checks what must hold of every stream."""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc

import models
import stubs

BUILD = pathlib.Path(os.environ.get("SHARDLINE_BUILD", stubs.ROOT / "build" / "release"))
GATEWAY = BUILD / "bin" / "shardline-gateway"
_modules = stubs.generate(BUILD / "tests" / "e2e_stubs")
pb = _modules["shardline.v1.inference_pb2"]
control_pb = _modules["shardline.v1.control_pb2"]
health_pb = _modules["health_pb2"]
reflection_pb = _modules["reflection_pb2"]
rpc_pb = _modules["status_details_pb2"]

FINDING = re.compile(r"^.*(runtime error: |(Address|Leak|Thread)Sanitizer)", re.MULTILINE)  # in builds with sanitizers
START_SECONDS = 60
CALL_SECONDS = 240
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536))  # a client that buffers little


def until(condition, seconds=20, what="the condition", pause=0.005):
    """Waits for condition() to be true; what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about in {seconds} s")
        time.sleep(pause)


def request(ids=None, *, max_new=None, top=None, **fields):
    """A GenerateRequest; greedy unless `sampling` says otherwise."""
    fields.setdefault("sampling", pb.SamplingParams(temperature=0))
    made = pb.GenerateRequest(**fields)
    if ids is not None:
        made.token_ids.ids.extend(ids)
    if max_new is not None:
        made.stopping.max_new_tokens = max_new
    if top is not None:
        made.logprobs.top = top
    return made


@dataclasses.dataclass
class Output:
    """One output of a request."""
    tokens: list = dataclasses.field(default_factory=list)  # TokenInfo
    pieces: list = dataclasses.field(default_factory=list)  # text of each tokens event
    finished: object = None

    @property
    def text(self):
        return "".join(self.pieces)

    @property
    def ids(self):
        return [token.id for token in self.tokens]

    @property
    def bits(self):
        """What must not depend on the company that a request keeps."""
        return [(t.id, t.logprob, t.rank, [(c.id, c.logprob) for c in t.top]) for t in self.tokens]


@dataclasses.dataclass
class Answer:
    """One stream, read to its end."""
    accepted: object
    prompt: list   # TokenInfo
    outputs: list  # Output
    error: object  # or None
    last: object   # the `finished` with usage and timing, or None

    # Of a request with one output:
    tokens = property(lambda self: self.outputs[0].tokens)
    text = property(lambda self: self.outputs[0].text)
    finished = property(lambda self: self.outputs[0].finished)
    ids = property(lambda self: self.outputs[0].ids)
    bits = property(lambda self: self.outputs[0].bits)
    pieces = property(lambda self: self.outputs[0].pieces)


def gather(events, n=1):
    """Checks the grammar of the events of a stream of `n` outputs and puts the answer together."""
    events = list(events)
    kinds = [event.WhichOneof("event") for event in events]
    assert [event.event_seq for event in events] == list(range(1, len(events) + 1)), "event_seq has gaps"
    assert kinds and kinds[0] == "accepted", f"starts with {kinds[:1]}"
    assert kinds.count("accepted") == 1
    assert kinds[-1] in ("finished", "error"), f"ends with {kinds[-3:]}"
    if kinds[-1] == "error":
        assert kinds.count("error") == 1 and kinds.count("finished") < n
    else:
        assert kinds.count("error") == 0 and kinds.count("finished") == n, f"{kinds.count('finished')} of {n} finished"
    prompts_end = len(kinds) - kinds[::-1].index("prompt") if "prompt" in kinds else 1
    assert kinds[1:prompts_end] == ["prompt"] * (prompts_end - 1), "prompt behind other events"
    answer = Answer(events[0].accepted, [], [Output() for _ in range(n)], None, None)
    for event, kind in zip(events, kinds):
        if kind == "prompt":
            assert event.prompt.first_position == len(answer.prompt)
            assert event.ByteSize() < 1 << 20
            answer.prompt.extend(event.prompt.tokens)
        elif kind == "tokens":
            output = answer.outputs[event.tokens.output_index]
            assert output.finished is None, "tokens behind finished"
            assert event.tokens.tokens or event.tokens.text, "an event of nothing"
            output.tokens.extend(event.tokens.tokens)
            output.pieces.append(event.tokens.text)
        elif kind == "finished":
            output = answer.outputs[event.finished.output_index]
            assert output.finished is None, "finished twice"
            output.finished = event.finished
        elif kind == "error":
            answer.error = event.error
            assert answer.error.message and "\n" not in answer.error.message
    if answer.error is None:
        answer.last = events[-1].finished
    check_last(answer)
    return answer


def check_last(answer):
    """Usage and timing stand on the last `finished` (usage on `error` too) and sum up."""
    for output in answer.outputs:
        if output.finished is not None:
            last = output.finished is answer.last
            assert output.finished.HasField("usage") == output.finished.HasField("timing") == last
    usage = answer.error.usage if answer.last is None else answer.last.usage
    assert usage.prompt_tokens == answer.accepted.prompt_tokens
    assert usage.output_tokens == sum(len(output.tokens) for output in answer.outputs)
    if answer.last is not None:
        assert answer.last.timing.queue_seconds >= 0


class Reading:
    """A call read by a thread of its own, to its end or until `stop_after` events are there."""

    def __init__(self, call, stop_after=None):
        self.call, self.events, self.error = call, [], None
        self._stop_after = stop_after
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        try:
            for event in self.call:
                self.events.append(event)
                if len(self.events) == self._stop_after:
                    return
        except grpc.RpcError as error:
            self.error = error

    @property
    def code(self):
        """How the call ended."""
        return grpc.StatusCode.OK if self.error is None else self.error.code()

    def join(self, seconds=CALL_SECONDS):
        """Waits for the end; itself."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"a call did not end in {seconds} s"
        return self

    def wait_for(self, count):
        until(lambda: len(self.events) >= count or not self._thread.is_alive(), what=f"{count} events")
        assert len(self.events) >= count, f"{len(self.events)} events of {count}: {self.error}"
        return self


def stub_of(channel):
    return _modules["shardline.v1.inference_pb2_grpc"].InferenceStub(channel)


class Server:
    def __init__(self, model, *flags):
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [GATEWAY, f"--model={model}", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--dtype=f32",
             "--threads=1", *flags], stdout=subprocess.PIPE, stderr=self._log, text=True)
        self._watchdog = threading.Timer(START_SECONDS, self.process.kill)
        self._watchdog.start()
        line = self.process.stdout.readline()  # "" when the process ends
        self._watchdog.cancel()
        match = re.fullmatch(r"ready listen=(\S+) metrics=(\S+) model=(\S+)\n", line)
        if not match:
            self.process.kill()
            raise AssertionError(f"no ready line but {line!r}; standard error:\n{self.log()}")
        self.address, self.metrics_address, self.model = match.groups()
        self.channel = self.connect()
        self.inference = stub_of(self.channel)
        self.control = _modules["shardline.v1.control_pb2_grpc"].ControlStub(self.channel)
        self.health_stub = _modules["health_pb2_grpc"].HealthStub(self.channel)
        self.reflection = _modules["reflection_pb2_grpc"].ServerReflectionStub(self.channel)

    def connect(self, *options):
        """A channel with a connection of its own."""
        return grpc.insecure_channel(self.address, options=[
            ("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1), *options])

    def log(self):
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stream(self, made):
        return self.inference.Generate(made, timeout=CALL_SECONDS)

    def generate(self, *arguments, **fields):
        return gather(self.stream(request(*arguments, **fields)), n=fields.get("n", 1))

    def attach(self, request_id, from_seq=1):
        return self.inference.Attach(pb.AttachRequest(request_id=request_id, from_seq=from_seq), timeout=CALL_SECONDS)

    def abort(self, **target):
        return self.control.Abort(control_pb.AbortRequest(**target), timeout=30).aborted

    def load(self):
        return self.control.GetLoad(control_pb.GetLoadRequest(), timeout=30)

    def generate_all(self, requests):
        """Answers of requests that run at the same time."""
        readings = [Reading(self.stream(made)) for made in requests]
        answers = []
        for made, reading in zip(requests, readings):
            if reading.join(CALL_SECONDS + 10).error is not None:
                raise reading.error
            answers.append(gather(reading.events, n=made.n or 1))
        return answers

    def wait_until_paused(self):
        """Waits until no tokens are made any more although requests run."""
        def stands():
            before = self.metrics()
            time.sleep(0.3)
            now = self.metrics()
            return before["shardline_output_tokens_total"] == now["shardline_output_tokens_total"] > 0

        until(stands, what="a paused request")
        assert self.load().running_requests > 0

    def health(self, service=""):
        return self.health_stub.Check(health_pb.HealthCheckRequest(service=service), timeout=10).status

    def serving(self):
        return self.health("shardline.ready") == health_pb.HealthCheckResponse.SERVING

    def metrics(self):
        """'name' or 'name{label="value"}' -> number"""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {key: float(value) for key, value in
                re.findall(r"^([a-z_:A-Z0-9]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}

    def children(self):
        files = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for file in files for pid in file.read_text().split()]

    def worker_pid(self):
        pids = self.children()
        assert len(pids) == 1, f"children of the gateway: {pids}"
        return pids[0]

    def settle(self):
        """Waits until nothing is in flight and nothing held; checks the counters. Returns them."""
        def quiet():
            now = self.metrics()
            self._check_counts(now)
            return now if (now["shardline_requests_running"] == 0 and now["shardline_requests_queued"] == 0 and
                           now["shardline_kv_blocks_used"] == 0) else None

        return until(quiet, what="an idle server without KV blocks in use")

    def _check_counts(self, now):
        outcomes = sum(value for key, value in now.items()
                       if key.startswith("shardline_requests_total{") and "rejected" not in key)
        in_flight = now["shardline_requests_running"] + now["shardline_requests_queued"]
        assert now["shardline_requests_accepted_total"] == outcomes + in_flight, now

    def stop(self, number=signal.SIGTERM):
        """Sends the signal; the exit code."""
        self.channel.close()
        if self._log.closed:
            return self.process.returncode
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(30)
            log = self.log()  # the worker's too, whose exit code nobody sees
            self.log_tail = log[-2000:]
            finding = FINDING.search(log)
            assert finding is None, log[finding.start():][:5000]
            return code
        finally:
            self.process.kill()
            self.process.stdout.close()
            self._log.close()


class ServerTest(unittest.TestCase):
    """Tests over one server; every test leaves it idle, with counters that add up."""
    FLAGS = ()

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder)

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.server = Server(cls.make_model(pathlib.Path(cls.folder.name) / "tiny"), *cls.FLAGS)
        cls.addClassCleanup(cls.server.stop, signal.SIGKILL)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        if code != 0:
            raise AssertionError(f"the gateway ended with {code}: {cls.server.log_tail}")

    def tearDown(self):
        self.server.settle()

    def refused(self, code, call):
        """The RpcError of a call that must end with `code`."""
        with self.assertRaises(grpc.RpcError) as caught:
            result = call()
            if hasattr(result, "__iter__"):
                list(result)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertNotIn("\n", caught.exception.details())
        return caught.exception


def details(error, kind):
    """The detail message of class `kind` in an error's trailer."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for packed in rpc_pb.Status.FromString(value).details:
                made = kind()
                if packed.Unpack(made):
                    return made
    raise AssertionError(f"no {kind.DESCRIPTOR.full_name} in the error's details")


def run():
    unittest.main(module=sys.modules["__main__"], verbosity=2)
