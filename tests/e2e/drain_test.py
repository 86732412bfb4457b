"""The server's orderly end: by Drain, by SIGTERM, at the deadline, at once."""

import pathlib
import signal
import subprocess
import tempfile

import grpc

import models
from harness import GATEWAY, Reading, Server, ServerTest, control_pb, gather, health_pb, pb, request, run, until

ENDLESS = pb.StoppingParams(ignore_eos=True)
NOT_SERVING = health_pb.HealthCheckResponse.NOT_SERVING
SERVING = health_pb.HealthCheckResponse.SERVING


class Drain(ServerTest):
    """A server for every test: each of them ends it."""
    FLAGS = ("--kv-cache-bytes=268435456",)

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000)

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.make_model(pathlib.Path(cls.folder.name) / "tiny")

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.server = Server(self.folder.name + "/tiny", *self.FLAGS)
        self.addCleanup(self.server.stop, signal.SIGKILL)

    def tearDown(self):
        self.assertEqual(self.server.process.wait(30), 0, self.server.log())

    def start(self, **fields):
        fields.setdefault("stopping", ENDLESS)
        return Reading(self.server.stream(request([1, 2], **fields))).wait_for(2)

    def drain(self, seconds=60):
        """A Drain call that has begun."""
        return Reading(self.server.control.Drain(control_pb.DrainRequest(deadline_seconds=seconds), timeout=60))

    def assert_done(self, reading, remaining):
        """The progress that a Drain call told, in the end and from how many requests on."""
        self.assertIsNone(reading.join().error)
        told = [progress.remaining_requests for progress in reading.events]
        self.assertEqual(told, sorted(told, reverse=True))
        self.assertEqual([progress.done for progress in reading.events], [False] * (len(told) - 1) + [True])
        self.assertEqual((told[0], told[-1]), (remaining, 0))

    def test_idle(self):
        self.assert_done(self.drain(), 0)

    def test_live_requests_finish_and_new_ones_are_refused(self):
        readings = [self.start(request_id=f"r{i}", detach_seconds=60) for i in range(3)]
        drain = self.drain().wait_for(1)
        self.assertEqual(drain.events[0].remaining_requests, 3)
        error = self.refused(grpc.StatusCode.UNAVAILABLE, lambda: self.server.stream(request([1])))
        self.assertIn("draining", error.details())
        self.assertEqual([self.server.health(name) for name in ("", "shardline.ready", "shardline.live")],
                         [NOT_SERVING, NOT_SERVING, SERVING])
        self.assertFalse(self.server.control.GetModel(control_pb.GetModelRequest(), timeout=10).ready)
        # Readers may come back, and operators may end what goes on.
        again = Reading(self.server.attach("r0")).wait_for(5)
        self.assertEqual(readings[0].join().code, grpc.StatusCode.ABORTED)
        for i, reading in enumerate([again, *readings[1:]]):
            self.assertEqual(self.server.abort(request_id=f"r{i}"), 1)
            self.assertEqual(gather(reading.join().events).finished.reason, pb.FINISH_REASON_ABORTED)
        self.assert_done(drain, 3)

    def test_what_ends_by_itself_is_whole(self):
        reading = self.start(stopping=pb.StoppingParams(ignore_eos=True, max_new_tokens=2000))
        drain = self.drain()
        self.assertEqual(len(gather(reading.join().events).ids), 2000)
        self.assertIsNone(drain.join().error)
        self.assertTrue(drain.events[-1].done)

    def test_the_deadline_ends_what_is_left(self):
        readings = [self.start(), self.start(n=3)]
        detached = self.start(detach_seconds=60)
        detached.call.cancel()
        drain = self.drain(1)
        for reading, n in zip(readings, (1, 3)):
            answer = gather(reading.join().events, n=n)
            self.assertEqual(answer.error.code, pb.ERROR_CODE_DRAINING)
            self.assertTrue(answer.error.retryable)
        self.assert_done(drain, 3)

    def test_no_time_at_all(self):
        reading = self.start()
        drain = self.drain(0)
        self.assertEqual(gather(reading.join().events).error.code, pb.ERROR_CODE_DRAINING)
        self.assertIsNone(drain.join().error)

    def test_the_earliest_deadline_holds_and_everyone_is_told(self):
        reading = self.start()
        drains = [self.drain(seconds) for seconds in (10000, 1, 10000)]
        self.assertEqual(gather(reading.join().events).error.code, pb.ERROR_CODE_DRAINING)
        for drain in drains:
            self.assertIsNone(drain.join().error)
            self.assertTrue(drain.events[-1].done)

    def test_a_drain_whose_caller_goes_goes_on(self):
        reading = self.start(request_id="last")
        drain = self.drain().wait_for(1)
        drain.call.cancel()
        drain.join()
        self.refused(grpc.StatusCode.UNAVAILABLE, lambda: self.server.stream(request([1])))
        self.server.abort(request_id="last")
        gather(reading.join().events)

    def test_sigterm_is_a_drain(self):
        reading = self.start(request_id="last")
        self.server.process.send_signal(signal.SIGTERM)
        until(lambda: self.server.health() == NOT_SERVING)
        self.refused(grpc.StatusCode.UNAVAILABLE, lambda: self.server.stream(request([1])))
        drain = self.drain().wait_for(1)
        self.server.abort(request_id="last")
        gather(reading.join().events)
        self.assert_done(drain, 1)

    def test_sigterm_while_a_drain_waits_then_a_second(self):
        readings = [self.start() for _ in range(2)]
        drain = self.drain(10000).wait_for(1)
        for _ in range(2):
            self.assertIsNone(self.server.process.poll())
            self.server.process.send_signal(signal.SIGTERM)
            until(lambda: not self.pending_sigterm(), what="the gateway's notice of the signal")
        for reading in readings:
            self.assertEqual(gather(reading.join().events).error.code, pb.ERROR_CODE_DRAINING)
        self.assertIsNone(drain.join().error)

    def pending_sigterm(self):
        try:
            status = open(f"/proc/{self.server.process.pid}/status").read()
        except FileNotFoundError:
            return False
        return any(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1
                   for line in status.splitlines() if line.startswith("ShdPnd"))

    def test_seconds_out_of_range_drain_nothing(self):
        for seconds in (-1, 1e7, float("nan"), float("inf")):
            self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.control.Drain(
                control_pb.DrainRequest(deadline_seconds=seconds), timeout=30))
        self.assertTrue(self.server.serving())
        self.assertIsNone(self.server.generate([1], max_new=1).error)
        self.assert_done(self.drain(), 0)

    def test_while_the_model_loads(self):
        program = pathlib.Path(self.folder.name) / "worker"
        program.write_text("#!/bin/sh\nexec sleep 100\n")
        program.chmod(0o755)
        gateway = subprocess.Popen([GATEWAY, f"--model={self.folder.name}/tiny", "--listen=127.0.0.1:0",
                                    "--metrics-listen=127.0.0.1:0", f"--worker-program={program}"],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            children = pathlib.Path(f"/proc/{gateway.pid}/task/")
            until(lambda: any(file.read_text() for file in children.glob("*/children")), what="a worker")
            gateway.send_signal(signal.SIGTERM)
            self.assertEqual((gateway.wait(30), gateway.stdout.read()), (0, ""))
        finally:
            gateway.kill()
            gateway.stdout.close()
        self.assert_done(self.drain(), 0)

    def test_queued_requests_finish_too(self):
        server = Server(self.folder.name + "/tiny", "--max-sequences=1")
        try:
            fields = {"stopping": pb.StoppingParams(ignore_eos=True, max_new_tokens=300)}
            readings = [Reading(server.stream(request([i], **fields))).wait_for(1) for i in range(4)]
            server.process.send_signal(signal.SIGTERM)
            for reading in readings:
                self.assertEqual(len(gather(reading.join().events).ids), 300)
        finally:
            self.assertEqual(server.stop(), 0)
        self.assert_done(self.drain(), 0)


if __name__ == "__main__":
    run()
