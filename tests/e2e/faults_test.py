"""Deaths, signals, and what a broken model or command line gets."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import grpc

import models
from harness import GATEWAY, Server, gather, health_pb, pb, request, run, until

ENDLESS = pb.StoppingParams(ignore_eos=True)
FLAGS = ("--kv-cache-bytes=536870912", "--drain-seconds=120")


def long_model(folder):
    """Its streams last for seconds."""
    return models.copy_of("llama", pathlib.Path(folder) / "tiny", max_position_embeddings=60000)


def ended(pid):
    try:
        # A zombie has ended: only its parent's notice is missing.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Deaths(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.server = Server(long_model(self.folder.name), *FLAGS)
        self.addCleanup(self.server.stop, signal.SIGKILL)

    def streams(self, count):
        """Calls that are under way, each with the events read so far."""
        calls = [self.server.stream(request([i + 1, 2], stopping=ENDLESS)) for i in range(count)]
        return [(call, [next(call), next(call)]) for call in calls]

    def test_killed_worker(self):
        streams = self.streams(6)
        worker = self.server.worker_pid()
        answers, seconds = [None] * len(streams), [None] * len(streams)

        def read(i):
            call, events = streams[i]
            answers[i] = gather(events + list(call))
            seconds[i] = time.monotonic()

        threads = [threading.Thread(target=read, args=(i,)) for i in range(len(streams))]
        for thread in threads:
            thread.start()
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
        for answer, at in zip(answers, seconds):
            self.assertEqual(answer.error.code, pb.ERROR_CODE_WORKER_LOST)
            self.assertTrue(answer.error.retryable)
            self.assertLess(at - killed, 10)
        # Until the next worker serves: UNAVAILABLE at once, never a wait without end.
        refused = 0
        while True:
            try:
                answer = self.server.generate([1, 2], max_new=3)
                if answer.error is None:
                    break
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE, error.details())
                refused += 1
            self.assertLess(time.monotonic() - killed, 30)
            time.sleep(0.002)
        self.assertGreater(refused, 0)
        self.assertNotEqual(self.server.worker_pid(), worker)
        self.assertTrue(self.server.serving())
        metrics = self.server.settle()
        self.assertEqual(metrics["shardline_worker_restarts_total"], 1)
        self.assertEqual(metrics['shardline_requests_total{outcome="error"}'], 6)
        self.assertEqual(self.server.stop(), 0)

    def test_the_same_bits_after_a_restart(self):
        made = request([5, 6, 7], max_new=20, top=2, sampling=pb.SamplingParams(temperature=1, seed=1))
        before = gather(self.server.stream(made))
        for _ in range(2):  # more than once
            os.kill(self.server.worker_pid(), signal.SIGKILL)
            until(lambda: not self.server.serving(), what="the gateway's notice")
            until(self.server.serving, 30, "the next worker")
        self.assertEqual(gather(self.server.stream(made)).bits, before.bits)
        self.server.settle()

    def test_killed_gateway_leaves_no_worker(self):
        self.streams(2)
        worker = self.server.worker_pid()
        self.server.process.kill()
        self.server.process.wait(10)
        until(lambda: ended(worker), 2, "the worker's end")

    def test_sigterm_lets_streams_finish(self):
        calls = [self.server.stream(request([i], max_new=600, stopping=ENDLESS)) for i in range(3)]
        started = [[next(call)] for call in calls]
        worker = self.server.worker_pid()
        self.server.process.send_signal(signal.SIGTERM)
        for call, events in zip(calls, started):
            answer = gather(events + list(call))
            self.assertIsNone(answer.error)
            self.assertEqual(len(answer.ids), 600)
        self.assertEqual(self.server.process.wait(20), 0)
        until(lambda: ended(worker), 2, "the worker's end")

    def test_requests_while_draining_are_refused(self):
        (call, events), = self.streams(1)
        self.server.process.send_signal(signal.SIGTERM)
        until(lambda: not self.server.serving(), what="draining")
        self.assertEqual(self.server.health("shardline.live"), health_pb.HealthCheckResponse.SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.generate([1], max_new=1)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.server.process.send_signal(signal.SIGTERM)  # the second: at once
        answer = gather(events + list(call))
        if answer.error is not None:
            self.assertEqual(answer.error.code, pb.ERROR_CODE_DRAINING)
        self.assertEqual(self.server.process.wait(20), 0)

    def test_second_gateway_on_the_same_port(self):
        line = failing([f"--model={self.folder.name}/tiny", f"--listen={self.server.address}", "--metrics-listen=127.0.0.1:0"])
        self.assertIn(self.server.address, line)

    def test_metrics_over_ipv6(self):
        line = failing([f"--model={self.folder.name}/tiny", "--listen=127.0.0.1:0", "--metrics-listen=[::1]:0"])
        self.assertIn("--metrics-listen [::1]:0: IPv6", line)


def failing(flags, code=2):
    """The one line on standard error of a gateway that must end with `code`."""
    ended_gateway = subprocess.run([GATEWAY, *flags], capture_output=True, text=True, timeout=60)
    assert ended_gateway.returncode == code, (ended_gateway.returncode, ended_gateway.stderr)
    assert ended_gateway.stdout == "", ended_gateway.stdout
    lines = ended_gateway.stderr.splitlines()
    assert len(lines) == 1, ended_gateway.stderr
    return lines[0]


class BrokenModels(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name) / "tiny"

    def fails(self, path, *words):
        line = failing([f"--model={path}", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
        for word in words:
            self.assertIn(word, line)

    def test_no_such_model(self):
        self.fails("/nonexistent/model.gguf", "/nonexistent/model.gguf")
        self.path.mkdir()
        self.fails(self.path, "config.json")

    def test_broken_gguf(self):
        whole = (models.GOLDEN / "gguf_q4_1" / "model.gguf").read_bytes()
        for name, data in (("empty", b""), ("text", b"hello, this is no model" * 9), ("cut", whole[:-1000]),
                           ("header", whole[:100]), ("version", whole[:4] + b"\x63" + whole[5:])):
            with self.subTest(name=name):
                file = pathlib.Path(self.folder.name) / f"{name}.gguf"
                file.write_bytes(data)
                self.fails(file, f"{name}.gguf")

    def test_broken_safetensors(self):
        models.copy_of("llama", self.path)
        file = self.path / "model.safetensors"
        whole = file.read_bytes()
        for name, data in (("cut", whole[:-10]), ("empty", b""), ("lengths", b"\xff" * 8 + whole[8:])):
            with self.subTest(name=name):
                file.write_bytes(data)
                self.fails(self.path, "model.safetensors")
        file.unlink()
        self.fails(self.path, "tiny")

    def test_missing_and_misshapen_tensors_are_listed(self):
        models.copy_of("llama", self.path)
        tensors = models.read_safetensors(self.path / "model.safetensors")
        for name in ("model.norm.weight", "model.layers.1.mlp.up_proj.weight"):
            del tensors[name]
        tensors["surplus.weight"] = tensors["model.embed_tokens.weight"]
        models.write_safetensors(self.path / "model.safetensors", tensors)
        self.fails(self.path, "model.norm.weight", "model.layers.1.mlp.up_proj.weight", "surplus.weight")

    def test_broken_config(self):
        models.copy_of("llama", self.path)
        (self.path / "config.json").write_text("{")
        self.fails(self.path, "config.json")
        shutil.rmtree(self.path)
        models.copy_of("llama", self.path, model_type="unheard_of", architectures=["UnheardOf"])
        self.fails(self.path, "config.json", "nheard")
        models.copy_of("llama", self.path, hidden_size=65)
        self.fails(self.path)

    def test_broken_tokenizer(self):
        models.copy_of("llama", self.path)
        (self.path / "tokenizer.json").write_text('{"model": {}}')
        self.fails(self.path, "tokenizer.json")


class BadFlags(unittest.TestCase):
    def test_those_that_ask(self):
        for flag, word in (("--version", "shardline-gateway "), ("--help", "--tensor_parallel"), ("--help=parallel", "--tensor_parallel")):
            asked = subprocess.run([GATEWAY, flag], capture_output=True, text=True, timeout=60)
            self.assertEqual((asked.returncode, asked.stderr), (0, ""))
            self.assertIn(word, asked.stdout)

    def test_each_is_named(self):
        model = f"--model={models.GOLDEN / 'llama'}"
        quiet = ("--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")
        for word, flags in (("--model", []), ("no-such-flag", [model, "--no-such-flag"]),
                            ("device", [model, "--device=abacus"]), ("dtype", [model, "--dtype=f7"]),
                            ("max-sequences", [model, "--max-sequences=0"]),
                            ("max-sequences", [model, "--max-sequences=many"]),
                            ("listen", [model, "--listen=nonsense"]),
                            ("replicas", [model, "--replicas=0"]), ("replicas", [model, "--replicas=65"]),
                            ("tensor-parallel", [model, "--tensor-parallel=65"]),
                            ("max-context", [model, "--max-context=100000000"]),
                            ("max-sequences", [model, "--max-sequences", "--threads=1"]),
                            ("model-name", [model, "--model-name=two\nlines"]),
                            ("worker-program", [model, "--worker-program=/nonexistent"]),
                            ("trace-file", [model, "--trace-file=/dev/full"])):
            with self.subTest(flags=flags):
                extra = [flag for flag in quiet if not any(given.startswith(flag.split("=")[0]) for given in flags)]
                self.assertIn(word, failing([*flags, *extra]))


if __name__ == "__main__":
    run()
