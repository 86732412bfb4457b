"""Replicas whose model is cut for several rank processes: the same answers, and what the end of a rank does."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

import models
from faults_test import ENDLESS, ended, failing, long_model
from harness import GATEWAY, Server, gather, pb, request, run, until

REAL = {name: pathlib.Path(models.GOLDEN.parent.parent, "models", name)
        for name in ("SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf")}


def ranks_of(server):
    """Process ids, rank 0 first."""
    ranks = {}
    for file in pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/children"):
        for pid in file.read_text().split():
            try:
                flags = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            for rank in (flag for flag in flags if flag.startswith("--rank=")):  # an ended one has no flags
                ranks[int(rank.split("=")[1])] = int(pid)
    return [ranks[rank] for rank in sorted(ranks)]


class Answers(unittest.TestCase):
    def served(self, model, ranks, *flags):
        server = Server(model, f"--tensor-parallel={ranks}", *flags)
        self.addCleanup(server.stop, signal.SIGKILL)
        self.assertEqual(len(ranks_of(server)), ranks)
        return server

    def test_of_golden_models(self):
        for name, ranks, *flags in (("llama", 3), ("gguf_of_llama", 2), ("gemma3", 2), ("mixtral", 2), ("deepseek_v2", 2),
                                    ("mamba", 2), ("falcon_multi_query", 3), ("mixtral", 3, "--expert-parallel")):
            with self.subTest(name=name, ranks=ranks, flags=flags):
                server = self.served(models.checkpoint(name), ranks, "--max-context=128", *flags)
                cases = models.reference(name)
                made = [request(map(int, case["prompt"]), max_new=len(case["output"]), top=2,
                                stopping=pb.StoppingParams(ignore_eos=True, max_new_tokens=len(case["output"])))
                        for case in cases]
                alone = [gather(server.stream(one)) for one in made]
                for case, answer, among in zip(cases, alone, server.generate_all(made)):
                    self.assertEqual(answer.ids, [int(token) for token in case["output"]])
                    for token, row in zip(answer.tokens, case["output_logprobs"]):
                        self.assertAlmostEqual(token.logprob, row[token.id], delta=1e-4)
                    self.assertEqual(answer.bits, among.bits)
                server.settle()
                self.assertEqual(server.stop(), 0)

    def test_with_little_memory_for_keys_and_values(self):
        """Requests are put out and computed again; nothing of it shows."""
        flags = ("--max-context=128", "--max-sequences=16")
        made = [request([i + 1, 7, 9], top=1, stopping=pb.StoppingParams(ignore_eos=True, max_new_tokens=90),
                        sampling=pb.SamplingParams(temperature=1, seed=i)) for i in range(8)]
        roomy = self.served(models.checkpoint("llama"), 2, *flags)
        expected = [answer.bits for answer in roomy.generate_all(made)]
        load = roomy.load().groups[0]
        info = roomy.metrics()
        self.assertEqual(roomy.stop(), 0)
        block_bytes = 2 * 2 * 16 * 16 * 4 * 3  # an upper bound; the metrics tell whether it was little
        tight = self.served(models.checkpoint("llama"), 2, *flags, f"--kv-cache-bytes={block_bytes * 14}")
        self.assertLess(tight.metrics()["shardline_kv_blocks_total"], info["shardline_kv_blocks_total"])
        self.assertEqual([answer.bits for answer in tight.generate_all(made)], expected)
        self.assertGreater(tight.metrics()["shardline_preemptions_total"], 0, load)
        tight.settle()
        self.assertEqual(tight.stop(), 0)

    @unittest.skipIf(os.environ.get("SHARDLINE_SANITIZE"), "takes minutes, and small models run the same code")
    def test_real_models_give_the_tokens_of_one_rank(self):
        prompts = ("The capital of France is", "def fibonacci(n):\n", "1, 2, 3, 5, 8, 13,")
        for name, path in REAL.items():
            if not path.exists():
                continue
            made = [request(text=prompt, max_new=24) for prompt in prompts]
            expected = None
            for ranks in (1, 2, 3):
                with self.subTest(name=name, ranks=ranks):
                    flags = ("--max-context=512", "--max-sequences=8")
                    server = Server(path, *flags, *([f"--tensor-parallel={ranks}"] if ranks > 1 else []))
                    self.addCleanup(server.stop, signal.SIGKILL)
                    ids = [answer.ids for answer in server.generate_all(made)]
                    expected = expected or ids
                    self.assertEqual(ids, expected)
                    self.assertEqual(server.stop(), 0)

    def test_without_a_cache_and_traced(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder, "trace.json")
            server = self.served(models.checkpoint("llama"), 2, "--no-kv-cache", f"--trace-file={trace}")
            case = models.reference("llama")[0]
            answer = server.generate(map(int, case["prompt"]), max_new=5)
            self.assertEqual(answer.ids, [int(token) for token in case["output"][:5]])
            self.assertEqual(server.stop(), 0)
            self.assertIn("shardline-worker rank 1", trace.read_text())


class Ends(unittest.TestCase):
    FLAGS = ("--tensor-parallel=3", "--kv-cache-bytes=536870912", "--step-limit-seconds=3")

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.server = Server(long_model(self.folder.name), *self.FLAGS)
        self.addCleanup(self.server.stop, signal.SIGKILL)

    def answer(self):
        return gather(self.server.stream(request([5, 6, 7], max_new=12, top=2))).bits

    def disturbed(self, act, within):
        """Streams are lost within so many seconds, and the next group gives the same answers."""
        before, old = self.answer(), ranks_of(self.server)
        calls = [self.server.stream(request([i + 1, 2], stopping=ENDLESS)) for i in range(3)]
        streams = [(call, [next(call), next(call)]) for call in calls]
        acted = time.monotonic()
        act(old)
        for call, events in streams:
            self.assertEqual(gather(events + list(call)).error.code, pb.ERROR_CODE_WORKER_LOST)
        self.assertLess(time.monotonic() - acted, within)
        until(self.server.serving, 30, "another group")
        until(lambda: all(ended(pid) for pid in old), what="the end of every old rank")
        self.assertFalse(set(old) & set(ranks_of(self.server)))
        self.assertEqual(self.answer(), before)
        self.server.settle()

    def test_a_killed_rank(self):
        for rank in range(3):
            with self.subTest(rank=rank):
                self.disturbed(lambda pids, rank=rank: os.kill(pids[rank], signal.SIGKILL), within=10)
        self.assertEqual(self.server.metrics()["shardline_worker_restarts_total"], 3)
        self.assertIn("rank 2 ended (killed by SIGKILL)", self.server.log())
        self.assertEqual(self.server.stop(), 0)

    def test_a_stopped_rank(self):
        for rank in (0, 2):
            with self.subTest(rank=rank):
                self.disturbed(lambda pids, rank=rank: os.kill(pids[rank], signal.SIGSTOP), within=20)
        self.assertEqual(self.server.stop(), 0)

    def test_a_rank_that_stands_still_while_there_is_nothing_to_do(self):
        old = ranks_of(self.server)
        os.kill(old[1], signal.SIGSTOP)
        until(lambda: ranks_of(self.server)[1:2] not in ([], [old[1]]), 30, "another group")
        until(self.server.serving, 30, "another group")
        self.assertEqual(len(self.answer()), 12)
        self.assertEqual(self.server.stop(), 0)

    def test_nothing_is_left_behind(self):
        before = {entry.name for entry in pathlib.Path("/dev/shm").iterdir()}
        pids = ranks_of(self.server)
        call = self.server.stream(request([1, 2], stopping=ENDLESS))
        next(call)
        self.server.stop(signal.SIGKILL)
        until(lambda: all(ended(pid) for pid in pids), 2, "the end of every rank")
        self.assertFalse({entry.name for entry in pathlib.Path("/dev/shm").iterdir()} - before)


class Refusals(unittest.TestCase):
    QUIET = ("--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")

    def test_more_ranks_than_the_model_can_be_cut_for(self):
        line = failing([f"--model={models.checkpoint('llama')}", "--tensor-parallel=40", *self.QUIET])
        self.assertIn("--tensor-parallel", line)

    def test_experts_that_cannot_be_dealt_out(self):
        for name, reason in (("llama", "--expert-parallel: this model has no experts"),
                             ("mixtral", "--tensor-parallel=5 with --expert-parallel is too many")):
            flags = ("--tensor-parallel=5", "--expert-parallel")
            self.assertIn(reason, failing([f"--model={models.checkpoint(name)}", *flags, *self.QUIET]))

    def test_a_broken_model_is_told_once(self):
        with tempfile.TemporaryDirectory() as folder:
            model = models.copy_of("llama", folder)
            (model / "model.safetensors").write_bytes(b"\0" * 100)
            self.assertIn("model.safetensors", failing([f"--model={model}", "--tensor-parallel=3", *self.QUIET]))

    def test_too_little_memory_for_keys_and_values(self):
        done = subprocess.run([GATEWAY, f"--model={models.checkpoint('llama')}", "--tensor-parallel=2",
                               "--kv-cache-bytes=100", *self.QUIET], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("loading")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertIn("--kv-cache-bytes", lines[0])


if __name__ == "__main__":
    run()
