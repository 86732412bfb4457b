"""Several worker groups behind one gateway: each runs streams, and what befalls one leaves the others' untouched."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

import models
from harness import BUILD, GATEWAY, Reading, Server, control_pb, gather, health_pb, pb, request, run, until

STEP_LIMIT = 3  # seconds: long enough for a busy machine's step
FLAGS = ("--replicas=2", "--kv-cache-bytes=134217728", f"--step-limit-seconds={STEP_LIMIT}")
SERVING = health_pb.HealthCheckResponse.SERVING


class ReplicasTest(unittest.TestCase):
    FLAGS = FLAGS

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.model = models.copy_of("llama", pathlib.Path(self.folder.name) / "tiny", max_position_embeddings=60000)

    def start(self, *flags):
        self.server = Server(self.model, *self.FLAGS, *flags)
        self.addCleanup(self.server.stop, signal.SIGKILL)

    def groups(self):
        return self.server.load().groups

    def wait_for_all(self):
        return until(lambda: all(group.ready for group in self.groups()) and self.groups(), 30, "all groups")

    def pid_of(self, replica):
        """The process of the replica's worker, by its epoch."""
        word = f"--epoch={self.groups()[replica].worker_epoch}".encode()
        found = [pid for pid in self.server.children()
                 if word in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
        self.assertEqual(len(found), 1)
        return found[0]

    def begin(self, count, **stopping):
        """Sampled streams with logprobs, dealt out to the groups in turn; each is under way."""
        made = [request([i + 1, 2, 3], top=2, sampling=pb.SamplingParams(temperature=1, seed=i),
                        stopping=pb.StoppingParams(ignore_eos=True, **stopping)) for i in range(count)]
        return [Reading(self.server.stream(one)).wait_for(2) for one in made]


class Deaths(ReplicasTest):
    def test_killed_worker_ends_its_own_streams_alone(self):
        self.start()
        self.wait_for_all()
        undisturbed = [gather(reading.join().events).bits for reading in self.begin(6, max_new_tokens=3000)]
        self.server.settle()

        descriptors = len(os.listdir(f"/proc/{self.server.process.pid}/fd"))
        for _ in range(2):  # more than once
            readings = self.begin(6, max_new_tokens=3000)
            before = self.groups()
            self.assertEqual([group.running_sequences for group in before], [3, 3])
            os.kill(self.pid_of(0), signal.SIGKILL)
            answers = [gather(reading.join().events) for reading in readings]
            lost = [answer for answer in answers if answer.error is not None]
            self.assertEqual([answer.error.code for answer in lost], [pb.ERROR_CODE_WORKER_LOST] * 3)
            for answer, bits in zip(answers, undisturbed):
                if answer.error is None:
                    self.assertEqual(answer.bits, bits)
                else:
                    self.assertEqual(answer.bits, bits[:len(answer.bits)])
            self.assertTrue(self.server.serving())
            after = self.wait_for_all()
            self.assertEqual(after[0].worker_epoch, before[0].worker_epoch + 2)
            self.assertEqual(after[1].worker_epoch, before[1].worker_epoch)

        again = [gather(reading.join().events).bits for reading in self.begin(6, max_new_tokens=3000)]
        self.assertEqual(again, undisturbed)
        metrics = self.server.settle()
        self.assertEqual(metrics["shardline_worker_restarts_total"], 2)
        self.assertEqual(metrics['shardline_requests_total{outcome="error"}'], 6)
        self.assertEqual(metrics['shardline_requests_total{outcome="length"}'], 18)
        self.assertEqual(metrics["shardline_kv_blocks_total"], sum(group.kv_blocks_total for group in self.groups()))
        until(lambda: len(os.listdir(f"/proc/{self.server.process.pid}/fd")) <= descriptors,
              what=f"no more than {descriptors} descriptors")
        self.assertEqual(self.server.stop(), 0)

    def test_never_unavailable_while_another_serves(self):
        self.start()
        self.wait_for_all()
        for replica in (0, 1):
            os.kill(self.pid_of(replica), signal.SIGKILL)
            until(lambda: not self.groups()[replica].ready, what="the gateway's notice")
            while not self.groups()[replica].ready:
                answer = self.server.generate([1, 2], max_new=3)
                self.assertIsNone(answer.error)
            self.assertEqual(self.server.health(), SERVING)
        self.server.settle()
        self.assertEqual(self.server.stop(), 0)

    def test_stopped_under_load(self):
        self.start()
        self.wait_for_all()
        live = self.server.health_stub.Watch(health_pb.HealthCheckRequest(service="shardline.live"), timeout=60)
        self.addCleanup(live.cancel)
        states = Reading(live).wait_for(1)
        readings = self.begin(4)
        worker = self.pid_of(1)
        os.kill(worker, signal.SIGSTOP)
        stopped = time.monotonic()
        until(lambda: self.server.load().running_requests == 2, STEP_LIMIT + 20, "the end of its streams")
        self.assertGreaterEqual(time.monotonic() - stopped, STEP_LIMIT - 0.5)
        self.wait_for_all()
        self.assertNotEqual(self.pid_of(1), worker)
        self.server.abort(all=True)
        answers = [gather(reading.join().events) for reading in readings]
        lost = [answer.error.code for answer in answers if answer.error is not None]
        self.assertEqual(lost, [pb.ERROR_CODE_WORKER_LOST] * 2)
        for answer in answers:
            if answer.error is None:
                self.assertEqual(answer.finished.reason, pb.FINISH_REASON_ABORTED)
        self.assertEqual([answer.status for answer in states.events], [SERVING])  # the other served all the time
        self.assertEqual(self.server.settle()["shardline_worker_restarts_total"], 1)
        self.assertEqual(self.server.stop(), 0)


class Life(ReplicasTest):
    def test_drain_waits_for_all_groups(self):
        self.start()
        self.wait_for_all()
        readings = self.begin(4, max_new_tokens=2000)
        self.assertEqual([group.running_sequences for group in self.groups()], [2, 2])
        workers = self.server.children()
        self.assertEqual(len(workers), 2)
        self.server.process.send_signal(signal.SIGTERM)
        for reading in readings:
            self.assertEqual(len(gather(reading.join().events).ids), 2000)
        self.assertEqual(self.server.process.wait(20), 0)
        for pid in workers:
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())

    def test_a_rank_takes_its_own_replica_along(self):
        self.start("--tensor-parallel=2")
        self.wait_for_all()
        self.assertEqual(len(self.server.children()), 4)
        readings = self.begin(4)
        before = self.groups()
        word = f"--epoch={before[1].worker_epoch}".encode()
        ranks = [pid for pid in self.server.children()
                 if word in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
        self.assertEqual(len(ranks), 2)
        os.kill(ranks[1], signal.SIGKILL)
        until(lambda: self.server.load().running_requests == 2, what="the end of its streams")
        after = self.wait_for_all()
        self.assertEqual(after[0].worker_epoch, before[0].worker_epoch)
        self.assertEqual(after[1].worker_epoch, before[1].worker_epoch + 2)
        self.server.abort(all=True)
        errors = [gather(reading.join().events).error for reading in readings]
        self.assertEqual([error.code for error in errors if error is not None], [pb.ERROR_CODE_WORKER_LOST] * 2)
        self.server.settle()
        self.assertEqual(self.server.stop(), 0)

    def test_limits_are_of_all_groups(self):
        self.start("--max-sequences=2")
        self.wait_for_all()
        info = self.server.control.GetServerInfo(control_pb.GetServerInfoRequest(), timeout=10)
        self.assertEqual(info.limits.max_sequences, 4)
        self.begin(4)
        waiting = Reading(self.server.stream(request([9], max_new=3)))
        until(lambda: self.server.load().queued_requests == 1, what="a fifth that waits")
        metrics = self.server.metrics()
        self.assertEqual((metrics["shardline_requests_running"], metrics["shardline_requests_queued"]), (4, 1))
        self.server.abort(all=True)
        waiting.join()
        self.server.settle()
        self.assertEqual(self.server.stop(), 0)

    def test_a_replica_that_cannot_start_leaves_the_first_serving(self):
        program = pathlib.Path(self.folder.name) / "worker"
        program.write_text("#!/bin/sh\nfor word; do case $word in --epoch=*) epoch=${word#--epoch=}; esac; done\n"
                           "if [ $((epoch % 2)) = 0 ]; then echo no >&2; exit 2; fi\n"
                           f'exec {BUILD}/bin/shardline-worker "$@"\n')
        program.chmod(0o755)
        self.start(f"--worker-program={program}")
        # Past the number of failed starts that would end a gateway with one replica.
        until(lambda: self.server.metrics()["shardline_worker_restarts_total"] >= 6, 60, "six failed starts")
        self.assertIsNone(self.server.generate([1, 2], max_new=3).error)
        self.assertEqual([group.ready for group in self.groups()], [True, False])
        self.assertIn("worker of replica 1:", self.server.log())
        self.server.settle()
        self.assertEqual(self.server.stop(), 0)

    def test_a_bad_model_is_told_once(self):
        models.copy_of("llama", self.model.with_name("bad"), hidden_size=65)
        ended = subprocess.run([GATEWAY, f"--model={self.model.with_name('bad')}", "--listen=127.0.0.1:0",
                                "--metrics-listen=127.0.0.1:0", "--replicas=3"],
                               capture_output=True, text=True, timeout=60)
        self.assertEqual(ended.returncode, 2)
        self.assertEqual(ended.stdout, "")
        self.assertEqual(len(ended.stderr.splitlines()), 1, ended.stderr)


if __name__ == "__main__":
    run()
