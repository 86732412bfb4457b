"""Ranks that are killed or stopped, and memory that does not suffice, while the model loads."""

import concurrent.futures
import json
import math
import os
import pathlib
import signal
import struct
import tempfile
import unittest

import models
from faults_test import ended, failing
from harness import BUILD, Reading, Server, gather, pb, request, run, until

LOAD_LIMIT = 6  # seconds: what a stopped rank costs, and more than a busy machine takes for a tiny model
WORKER = BUILD / "bin" / "shardline-worker"


class Starts:
    """Workers whose starts can be held up: a rank that has a pipe waits for a word in it before it is the worker.
    So its group is loading for as long as a test needs, however fast or slow the machine is."""

    def __init__(self, folder, prelude=""):
        self.folder = pathlib.Path(folder)
        self.program = self.folder / "worker"
        self.program.write_text(
            "#!/bin/sh\n"
            'for word; do case $word in --epoch=*) epoch=${word#--epoch=};; --rank=*) rank=${word#--rank=};; esac; done\n'
            f"start={self.folder}/$epoch-$rank\n"
            "echo $$ > $start.new && mv $start.new $start.pid\n"
            "if [ -p $start.hold ]; then read word < $start.hold; fi\n"
            f'{prelude}exec {WORKER} "$@"\n')
        self.program.chmod(0o755)

    def hold(self, epoch, rank):
        os.mkfifo(self.folder / f"{epoch}-{rank}.hold")

    def release(self, epoch, rank):
        pipe = os.open(self.folder / f"{epoch}-{rank}.hold", os.O_RDWR)  # waits for nobody
        try:
            os.write(pipe, b"on\n")
            until(lambda: ended(self.pid(epoch, rank)) or str(WORKER) in self.command(epoch, rank), what="the rank's start")
        finally:
            os.close(pipe)

    def pid(self, epoch, rank):
        file = self.folder / f"{epoch}-{rank}.pid"
        until(file.exists, 60, f"rank {rank} of epoch {epoch}")
        return int(file.read_text())

    def command(self, epoch, rank):
        try:
            return pathlib.Path(f"/proc/{self.pid(epoch, rank)}/cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def lose(self, epoch, rank, number):
        """Kills or stops a rank that loads, while the other is held up, and then lets that one go on."""
        other = 1 - rank
        until(lambda: str(WORKER) in self.command(epoch, rank), what=f"rank {rank} of epoch {epoch}")
        os.kill(self.pid(epoch, rank), number)
        self.release(epoch, other)
        until(lambda: ended(self.pid(epoch, rank)) and ended(self.pid(epoch, other)), 60, f"the end of epoch {epoch}")

    def pids(self):
        return [int(file.read_text()) for file in self.folder.glob("*.pid")]


class Losses(unittest.TestCase):
    FLAGS = ("--tensor-parallel=2", "--kv-cache-bytes=134217728", f"--load-limit-seconds={LOAD_LIMIT}")

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.model = models.copy_of("llama", pathlib.Path(self.folder.name) / "tiny", max_position_embeddings=150000)
        self.starts = Starts(self.folder.name)

    def start(self, *flags):
        server = Server(self.model, *self.FLAGS, f"--worker-program={self.starts.program}", *flags)
        self.addCleanup(server.stop, signal.SIGKILL)
        return server

    def hold(self, *places):
        for epoch, rank in places:
            self.starts.hold(epoch, rank)

    def test_at_the_first_start_and_a_later_one(self):
        shared = {entry.name for entry in pathlib.Path("/dev/shm").iterdir()}
        self.hold((1, 1), (2, 0), (4, 0), (5, 1))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self.start, "--max-sequences=1")
            self.starts.lose(1, 0, signal.SIGKILL)
            self.starts.lose(2, 1, signal.SIGSTOP)
            server = starting.result()
        answer = gather(server.stream(request([5, 6, 7], max_new=12, top=2))).bits
        descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))

        running = Reading(server.stream(request([1, 2], stopping=pb.StoppingParams(ignore_eos=True)))).wait_for(2)
        waiting = Reading(server.stream(request([5, 6, 7], max_new=12, top=2)))
        until(lambda: server.load().queued_requests == 1, what="a request that waits")
        os.kill(self.starts.pid(3, 1), signal.SIGKILL)
        self.assertEqual(gather(running.join().events).error.code, pb.ERROR_CODE_WORKER_LOST)
        self.starts.lose(4, 1, signal.SIGKILL)
        self.starts.lose(5, 0, signal.SIGSTOP)
        self.assertEqual(gather(waiting.join().events).bits, answer)
        self.assertEqual(gather(server.stream(request([5, 6, 7], max_new=12, top=2))).bits, answer)

        self.assertEqual(server.settle()["shardline_worker_restarts_total"], 5)
        log = server.log()
        for reason in ("rank 0 ended (killed by SIGKILL)", "rank 1 ended (killed by SIGKILL)", "(--load-limit-seconds)"):
            self.assertIn(reason, log)
        self.assertLessEqual(len(os.listdir(f"/proc/{server.process.pid}/fd")), descriptors)
        self.assertEqual(server.stop(), 0)
        for pid in self.starts.pids():
            self.assertTrue(ended(pid))
        self.assertFalse({entry.name for entry in pathlib.Path("/dev/shm").iterdir()} - shared)

    def test_the_streams_of_another_replica_go_on(self):
        """The first replica has the odd epochs, the second one the even."""
        self.hold((2, 1), (4, 0))
        server = self.start("--replicas=2")
        made = request([1, 2, 3], top=2, sampling=pb.SamplingParams(temperature=1, seed=3),
                       stopping=pb.StoppingParams(ignore_eos=True, max_new_tokens=100))
        expected = server.generate_all([made])[0].bits
        made.stopping.ClearField("max_new_tokens")
        stream = Reading(server.stream(made)).wait_for(2)
        self.starts.lose(2, 0, signal.SIGKILL)
        self.starts.lose(4, 1, signal.SIGSTOP)
        until(lambda: all(group.ready for group in server.load().groups), 60, "both replicas")
        self.assertIn("loading of replica 1: loading weights", server.log())
        self.assertIn("worker of replica 1: rank 0 ended (killed by SIGKILL)", server.log())
        stream.wait_for(len(stream.events) + 1)
        server.abort(all=True)
        self.assertEqual(gather(stream.join().events).bits[:100], expected)
        phases = server.settle()
        for rank in (0, 1):
            self.assertIn(f'shardline_startup_seconds{{phase="load_rank_{rank}"}}', phases)
        self.assertEqual(server.stop(), 0)


class Memory(unittest.TestCase):
    def test_that_does_not_suffice(self):
        """The ranks agree on it, and rank 0 says it. Nothing of so much memory is touched."""
        sizes = {64: 4096, 32: 2048, 112: 1 << 20}  # 144 GiB of weights, of which no disk holds a byte
        with tempfile.TemporaryDirectory() as folder:
            starts = Starts(folder, prelude="ulimit -d 4194304\n")
            model = models.copy_of("llama", pathlib.Path(folder) / "model", hidden_size=4096, intermediate_size=1 << 20)
            header, end = {}, 0
            for name, (_, shape, _) in models.read_safetensors(model / "model.safetensors").items():
                shape = [sizes.get(size, size) for size in shape]
                header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * math.prod(shape)]}
                end = header[name]["data_offsets"][1]
            head = json.dumps(header).encode()
            with open(model / "model.safetensors", "wb") as file:
                file.write(struct.pack("<Q", len(head)) + head)
                file.truncate(8 + len(head) + end)
            line = failing([f"--model={model}", "--tensor-parallel=2", f"--worker-program={starts.program}",
                            "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
            self.assertRegex(line, rf"not enough memory for \d+ bytes of weights of {model}")


if __name__ == "__main__":
    run()
