"""A group of ranks on two hosts: network namespaces with a link between them, a gateway in each.

This process is one host, what it starts by `Host.run` the other. Both end with this process, and with them the link:
there is nothing to clean up."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

SKIPPED = 77  # ctest's SKIP_RETURN_CODE
INSIDE = "SHARDLINE_NODES_TEST_INSIDE"

if INSIDE not in os.environ:
    enter = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    try:
        tried = subprocess.run([*enter, "ip", "link", "add", "one", "type", "veth", "peer", "name", "other"],
                               capture_output=True, text=True, check=False, timeout=30)
        refusal = tried.stderr.strip() if tried.returncode else ""
    except FileNotFoundError as error:
        refusal = str(error)
    if refusal:
        print(f"skipped: no network namespaces with a link can be made here: {refusal}")
        sys.exit(SKIPPED)
    os.environ[INSIDE] = "1"
    os.execvp(enter[0], [*enter, sys.executable, *sys.argv])

import models
from faults_test import ENDLESS, ended, failing, long_model
from harness import FINDING, GATEWAY, Server, gather, pb, request, run, until
from tensor_parallel_test import ranks_of

HERE, THERE = "10.77.0.1", "10.77.0.2"
AT = f"{HERE}:7777"
FLAGS = (f"--rendezvous={AT}", "--nodes=2", "--dtype=f32", "--threads=1", "--max-sequences=16", "--step-limit-seconds=3")

QUIET = ("--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, timeout=30)


class Host:
    """The other one."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)  # ends with this process
        space = pathlib.Path(f"/proc/{self.holder.pid}/ns/net")
        until(lambda: os.readlink(space) != os.readlink("/proc/self/ns/net"), what="a network namespace")
        self.enter = ["nsenter", f"--net={space}"]
        ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(self.holder.pid))
        ip("link", "set", "lo", "up")
        ip("address", "add", f"{HERE}/24", "dev", "here")
        self.link("up")
        for line in ("link set lo up", f"address add {THERE}/24 dev there", "link set there up"):
            subprocess.run([*self.enter, "ip", *line.split()], check=True, timeout=30)

    def link(self, state):
        ip("link", "set", "here", state)

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdin.close()
        subprocess.run(["ip", "link", "delete", "here"], check=False, timeout=30)


class Node:
    """The gateway on the other host."""

    def __init__(self, host, model, *flags):
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*host.enter, GATEWAY, f"--model={model}", "--node-rank=1", *FLAGS, *flags],
                                        stdout=self._log, stderr=self._log)

    def log(self):
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def says(self, text, times=1):
        until(lambda: self.log().count(text) >= times, 60, f"'{text}' in the other node's log")

    def stop(self, number=signal.SIGTERM):
        if self._log.closed:
            return self.process.returncode
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            log = self.log()
            self._log.close()
            assert FINDING.search(log) is None, log


class TwoHosts(unittest.TestCase):
    def setUp(self):
        self.host = Host()
        self.addCleanup(self.host.close)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def node(self, model, *flags):
        node = Node(self.host, model, *flags)
        self.addCleanup(node.stop, signal.SIGKILL)
        return node

    def server(self, model, *flags):
        server = Server(model, *FLAGS, *flags)
        self.addCleanup(server.stop, signal.SIGKILL)
        return server


class Answers(TwoHosts):
    def test_are_those_of_one_rank(self):
        for name, ranks, here in (("llama", 2, [0]), ("gguf_of_llama", 3, [0, 1]), ("mamba", 2, [0])):
            with self.subTest(name=name, ranks=ranks):
                flags = (f"--tensor-parallel={ranks}", "--max-context=128")
                node = self.node(models.checkpoint(name), *flags)
                if name == "llama":
                    node.says(f"waiting for node 0 at {AT}")  # the other one first
                server = self.server(models.checkpoint(name), *flags)
                self.assertEqual(len(ranks_of(server)), len(here))
                self.assertEqual(len(ranks_of(node)), ranks - len(here))
                cases = models.reference(name)
                answers = server.generate_all([
                    request(map(int, case["prompt"]), top=2,
                            stopping=pb.StoppingParams(ignore_eos=True, max_new_tokens=len(case["output"])))
                    for case in cases])
                for case, answer in zip(cases, answers):
                    self.assertEqual(answer.ids, [int(token) for token in case["output"]])
                    for token, row in zip(answer.tokens, case["output_logprobs"]):
                        self.assertAlmostEqual(token.logprob, row[token.id], delta=1e-4)
                server.settle()
                self.assertEqual(node.stop(), 0)
                self.assertEqual(server.stop(), 0)


class Faults(TwoHosts):
    def setUp(self):
        super().setUp()
        self.model = long_model(self.folder.name)
        self.flags = ("--tensor-parallel=2", "--kv-cache-bytes=268435456")

    def answer(self, server):
        return gather(server.stream(request([5, 6, 7], max_new=12, top=2))).bits

    def disturbed(self, server, act, mend=lambda: None):
        """Streams are lost, and the next group gives the same answers."""
        before = self.answer(server)
        calls = [server.stream(request([i + 1, 2], stopping=ENDLESS)) for i in range(3)]
        streams = [(call, [next(call), next(call)]) for call in calls]
        act()
        for call, events in streams:
            self.assertEqual(gather(events + list(call)).error.code, pb.ERROR_CODE_WORKER_LOST)
        mend()
        until(server.serving, 60, "another group")
        self.assertEqual(self.answer(server), before)
        server.settle()

    def test_of_the_other_host(self):
        node = self.node(self.model, *self.flags)
        server = self.server(self.model, *self.flags)

        with self.subTest("a killed rank"):
            self.disturbed(server, lambda: os.kill(ranks_of(node)[0], signal.SIGKILL))
        with self.subTest("a stopped rank"):
            self.disturbed(server, lambda: os.kill(ranks_of(node)[0], signal.SIGSTOP))
        with self.subTest("a link that is cut"):
            def mend():
                until(lambda: f"waiting for rank 1 at {AT}" in server.log(), 30, "node 0 to say for whom it waits")
                self.host.link("up")

            self.disturbed(server, lambda: self.host.link("down"), mend)
        with self.subTest("a killed gateway"):
            ranks = ranks_of(node)
            self.disturbed(server, lambda: node.stop(signal.SIGKILL),
                           lambda: setattr(self, "next", self.node(self.model, *self.flags)))
            until(lambda: all(ended(pid) for pid in ranks), 2, "the end of every rank of a killed gateway")
        self.assertEqual(self.next.stop(), 0)
        self.assertEqual(server.stop(), 0)

    def test_a_killed_rank_of_a_group_that_rests(self):
        flags = (*self.flags, "--step-limit-seconds=600")  # rank 0 does not wait for a step to hear of it
        node = self.node(self.model, *flags)
        server = self.server(self.model, *flags)
        before = self.answer(server)
        os.kill(ranks_of(node)[0], signal.SIGKILL)
        until(lambda: server.metrics()["shardline_worker_restarts_total"] == 1, 60, "node 0 to notice")
        until(server.serving, 60, "another group")
        self.assertEqual(self.answer(server), before)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(node.stop(), 0)

    def test_of_node_0(self):
        node = self.node(self.model, *self.flags)
        server = self.server(self.model, *self.flags)
        before = self.answer(server)
        for number, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(number):
                waits = node.log().count(f"waiting for node 0 at {AT}")
                self.assertEqual(server.stop(number), code)
                node.says(f"waiting for node 0 at {AT}", waits + 1)
                server = self.server(self.model, *self.flags)
                self.assertEqual(self.answer(server), before)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(node.stop(), 0)


class Refusals(TwoHosts):
    def both(self, here, there):
        """What two gateways say that cannot start together."""
        node = self.node(*there)
        first = subprocess.run([GATEWAY, f"--model={here[0]}", *here[1:], *FLAGS, *QUIET], capture_output=True, text=True,
                               check=False, timeout=60)
        self.assertEqual((first.returncode, first.stdout), (2, ""), first.stderr)
        self.assertEqual(node.process.wait(30), 2, node.log())
        told = [[text for text in log.splitlines() if not text.startswith("waiting for ")]
                for log in (first.stderr, node.log())]
        self.assertEqual(told[0], told[1])
        self.assertEqual(len(told[0]), 1, told)
        return told[0][0]

    def test_flags_that_differ(self):
        llama = models.checkpoint("llama")
        for here, there, says in (
                ((llama, "--tensor-parallel=2", "--max-context=64"), (llama, "--tensor-parallel=2", "--max-context=96"),
                 "--max-context is 64 on node 0 and 96 on node 1"),
                ((llama, "--tensor-parallel=2"), (llama, "--tensor-parallel=3"),
                 "--tensor-parallel is 2 on node 0 and 3 on node 1"),
                ((llama, "--tensor-parallel=2"), (models.checkpoint("multi_head"), "--tensor-parallel=2"),
                 "--model is a llama model (")):
            with self.subTest(says):
                self.assertIn(says, self.both(here, there))

    def test_a_bad_model_on_the_other_host(self):
        node = self.node("/nonexistent", "--tensor-parallel=2")
        self.assertEqual(node.process.wait(30), 2)
        self.assertEqual(len(node.log().splitlines()), 1, node.log())
        self.assertIn("/nonexistent", node.log())

    def test_a_taken_address(self):
        with socket.create_server((HERE, 7777)):
            line = failing([f"--model={models.checkpoint('llama')}", *FLAGS, "--tensor-parallel=2", *QUIET])
        self.assertIn(f"--rendezvous: cannot listen at {AT}", line)

    def test_a_node_that_waits_ends_at_once(self):
        node = self.node(models.checkpoint("llama"), "--tensor-parallel=2")
        node.says(f"waiting for node 0 at {AT}")
        ranks = ranks_of(node)
        self.assertEqual(node.stop(), 0)
        until(lambda: all(ended(pid) for pid in ranks), 2, "the end of every rank")


if __name__ == "__main__":
    run()
