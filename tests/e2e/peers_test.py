"""Processes that stand still, each in turn: worker, gateway, client. Every other one ends or goes on within its limit."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

import models
from harness import BUILD, Reading, Server, gather, health_pb, pb, request, run, until

ENDLESS = pb.StoppingParams(ignore_eos=True)
STEP_LIMIT = 3  # seconds: long enough for a busy machine's step
FLAGS = ("--kv-cache-bytes=268435456", f"--step-limit-seconds={STEP_LIMIT}")
SERVING = health_pb.HealthCheckResponse.SERVING
NOT_SERVING = health_pb.HealthCheckResponse.NOT_SERVING


class PeersTest(unittest.TestCase):
    FLAGS = FLAGS

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.model = models.copy_of("llama", pathlib.Path(self.folder.name) / "tiny", max_position_embeddings=60000)
        self.server = self.start_server()
        self.made = request([5, 6, 7], max_new=20, top=2, sampling=pb.SamplingParams(temperature=1, seed=1))
        self.bits = gather(self.server.stream(self.made)).bits

    def start_server(self):
        server = Server(self.model, *self.FLAGS)
        self.addCleanup(server.stop, signal.SIGKILL)
        return server

    def stop(self, pid):
        """Stops a process; whatever the test does, it goes on in the end."""
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(self.proceed, pid)

    def proceed(self, pid):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def endless(self, **fields):
        return Reading(self.server.stream(request([1, 2], stopping=ENDLESS, **fields)))

    def assert_whole(self, restarts):
        """The server serves as before; a worker was started again so often (None: nobody counts)."""
        self.assertEqual(gather(self.server.stream(self.made)).bits, self.bits)
        metrics = self.server.settle()
        if restarts is not None:
            self.assertEqual(metrics["shardline_worker_restarts_total"], restarts)
        self.assertEqual(self.server.stop(), 0)


class Worker(PeersTest):
    def watch(self, service):
        """The states that grpc.health.v1's Watch tells, from now on."""
        call = self.server.health_stub.Watch(health_pb.HealthCheckRequest(service=service), timeout=60)
        self.addCleanup(call.cancel)
        return Reading(call).wait_for(1)

    def test_stopped_under_load(self):
        live, ready = self.watch("shardline.live"), self.watch("shardline.ready")
        readings = [self.endless(n=n).wait_for(2) for n in (1, 1, 3)]
        worker = self.server.worker_pid()
        self.stop(worker)
        stopped = time.monotonic()
        for reading, n in zip(readings, (1, 1, 3)):
            answer = gather(reading.join(STEP_LIMIT + 20).events, n=n)
            self.assertEqual(answer.error.code, pb.ERROR_CODE_WORKER_LOST)
            self.assertTrue(answer.error.retryable)
        self.assertGreaterEqual(time.monotonic() - stopped, STEP_LIMIT - 0.5)
        # A stopped process is not asked to end: the next worker is there soon.
        until(lambda: self.server.serving(), 20, "the next worker")
        self.assertNotEqual(self.server.worker_pid(), worker)
        for watched in (live, ready):
            watched.wait_for(3)
            self.assertEqual([answer.status for answer in watched.events[:3]], [SERVING, NOT_SERVING, SERVING])
        self.assert_whole(restarts=1)

    def test_stopped_while_idle(self):
        self.server.settle()
        self.stop(self.server.worker_pid())
        time.sleep(STEP_LIMIT + 1)  # nothing is asked of it: nothing is wrong
        self.assertTrue(self.server.serving())
        answer = gather(self.endless().join(STEP_LIMIT + 20).events)
        self.assertEqual(answer.error.code, pb.ERROR_CODE_WORKER_LOST)
        until(self.server.serving, 20, "the next worker")
        self.assert_whole(restarts=1)

    def test_stopped_and_gone_on(self):
        reading = Reading(self.server.stream(request([1, 2], max_new=3000, stopping=ENDLESS))).wait_for(2)
        worker = self.server.worker_pid()
        for _ in range(3):
            self.stop(worker)
            time.sleep(0.1)
            self.proceed(worker)
        self.assertEqual(len(gather(reading.join().events).ids), 3000)
        self.assert_whole(restarts=0)

    def test_deadlines_hold_while_it_stands_still(self):
        worker = self.server.worker_pid()
        self.stop(worker)
        call = self.server.inference.Generate(request([1], stopping=ENDLESS), timeout=1)
        self.assertEqual(Reading(call).join().code, grpc.StatusCode.DEADLINE_EXCEEDED)
        until(lambda: self.server.load().running_requests + self.server.load().queued_requests == 0)
        self.proceed(worker)
        self.assert_whole(restarts=0)

    def test_sigterm_while_it_stands_still(self):
        reading = self.endless().wait_for(2)
        self.stop(self.server.worker_pid())
        self.server.process.send_signal(signal.SIGTERM)
        answer = gather(reading.join(40).events)
        self.assertIn(answer.error.code, (pb.ERROR_CODE_WORKER_LOST, pb.ERROR_CODE_DRAINING))
        self.assertEqual(self.server.process.wait(40), 0)


class Loading(PeersTest):
    """A worker that stands still before it serves: another is started after --load-limit-seconds."""

    def start_server(self):
        program = pathlib.Path(self.folder.name) / "worker"
        flag = pathlib.Path(self.folder.name) / "stopped"
        program.write_text(f"#!/bin/sh\nif [ ! -e {flag} ]; then touch {flag}; kill -STOP $$; fi\n"
                           f'exec {BUILD}/bin/shardline-worker "$@"\n')
        program.chmod(0o755)
        self.begun = time.monotonic()
        server = Server(self.model, "--load-limit-seconds=4", f"--worker-program={program}", *self.FLAGS)
        self.addCleanup(server.stop, signal.SIGKILL)
        return server

    def test_stopped_while_it_loads(self):
        self.assertGreaterEqual(time.monotonic() - self.begun, 4)
        self.assertGreaterEqual(self.server.metrics()["shardline_worker_restarts_total"], 1)
        self.assert_whole(restarts=None)  # a busy machine's next worker may be as late


class Gateway(PeersTest):
    def test_stopped_and_gone_on(self):
        readings = [Reading(self.server.stream(request([i], max_new=2000, stopping=ENDLESS))).wait_for(2) for i in range(3)]
        self.stop(self.server.process.pid)
        # A client's own deadline needs no server.
        call = self.server.inference.Generate(request([1], max_new=1), timeout=1)
        self.assertEqual(Reading(call).join(20).code, grpc.StatusCode.DEADLINE_EXCEEDED)
        time.sleep(STEP_LIMIT)  # what the worker did meanwhile counts as headway
        self.proceed(self.server.process.pid)
        for reading in readings:
            self.assertEqual(len(gather(reading.join().events).ids), 2000)
        self.assert_whole(restarts=0)


class Client(PeersTest):
    FLAGS = (*FLAGS, "--stalled-reader-seconds=1")

    def client(self, made):
        """A client process that has its first event."""
        environment = {**os.environ, "SHARDLINE_BUILD": str(BUILD)}
        process = subprocess.Popen([sys.executable, pathlib.Path(__file__).parent / "client.py", self.server.address,
                                    made.SerializeToString().hex()], stdout=subprocess.PIPE, text=True, env=environment)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "begun\n")
        return process

    def test_stopped_it_ends_alone_as_overloaded(self):
        client = self.client(request([1, 2], top=64, stopping=ENDLESS))
        other = self.endless(request_id="other").wait_for(2)
        self.stop(client.pid)
        until(lambda: self.server.load().running_requests == 1, 30, "the end of the stalled stream")
        self.assertEqual(self.server.metrics()['shardline_requests_total{outcome="error"}'], 1)
        other.wait_for(len(other.events) + 20)  # undisturbed
        self.proceed(client.pid)
        self.assertEqual(client.stdout.readline(), "ERROR_CODE_OVERLOADED\n")
        self.server.abort(request_id="other")
        self.assertIsNone(gather(other.join().events).error)
        self.assert_whole(restarts=0)

    def test_stopped_for_a_moment_it_misses_nothing(self):
        client = self.client(request([1, 2], top=8, max_new=2000, stopping=ENDLESS))
        for _ in range(3):
            self.stop(client.pid)
            time.sleep(0.1)
            self.proceed(client.pid)
        self.assertEqual(client.stdout.readline(), "finished\n")
        self.assert_whole(restarts=0)

    def test_killed_while_stopped(self):
        client = self.client(request([1, 2], top=64, stopping=ENDLESS))
        self.stop(client.pid)
        client.kill()
        self.server.settle()
        self.assert_whole(restarts=0)


if __name__ == "__main__":
    run()
