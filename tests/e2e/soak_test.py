"""Twenty thousand short requests through one server: nothing of them stays in either process."""

import os
import pathlib
import queue
import random
import threading
import time

import grpc

import models
from harness import ServerTest, gather, pb, request, run, until

REQUESTS = int(os.environ.get("SHARDLINE_SOAK_REQUESTS", "20000"))
CLIENTS = 24
ROUND = REQUESTS // 10
# Finished streams are kept up to a bound of bytes; these ask to be kept long, so that the bound is met after some 13000
# requests on any machine. What grows after WARM requests grows with every one.
WARM, KEPT_SECONDS = REQUESTS * 7 // 10, 3600
SLACK_BYTES = 3 << 20
EOS = 256 + len(models.MERGES) + 1
TEXTS = ("", "the cat and the dog", "é☃ and more", "0123456789" * 4)


def status(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {key}")


def descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


class Soak(ServerTest):
    FLAGS = ("--kv-cache-bytes=16777216", "--max-sequences=32")

    @classmethod
    def make_model(cls, folder):
        return models.with_tokenizer(folder, eos_token_id=EOS)

    def made(self, generator):
        """A request of any kind, and after how many events its reader leaves (None: reads all)."""
        kind = generator.random()
        fields = {"n": generator.choice([1, 1, 1, 2, 3]), "sampling": pb.SamplingParams(
            temperature=generator.choice([0, 1]), seed=generator.randrange(99)), "stopping": pb.StoppingParams(
                ignore_eos=True, max_new_tokens=generator.choice([1, 2, 4, 8]))}
        if generator.random() < 0.3:
            fields["logprobs"] = pb.LogprobParams(top=generator.choice([0, 3]), prompt=generator.choice([True, False]))
        if kind <= 0.9:
            fields["detach_seconds"] = KEPT_SECONDS
        if kind < 0.2:
            fields["chat"] = pb.ChatPrompt(messages=[pb.ChatMessage(role="user", content=generator.choice(TEXTS))])
        elif kind < 0.4:
            fields["text"] = generator.choice(TEXTS) + "x"
        ids = None if kind < 0.4 else [generator.randrange(256) for _ in range(generator.choice([1, 3, 17, 40]))]
        if kind > 0.9:
            fields["stopping"].max_new_tokens = 60
            return request(ids, **fields), generator.randrange(1, 4)
        return request(ids, **fields), None

    def one(self, seed):
        made, leaves_after = self.made(random.Random(seed))
        call = self.server.stream(made)
        if leaves_after is None:
            answer = gather(call, n=made.n)
            assert answer.error is None, answer.error
            return
        try:
            for count, _ in enumerate(call, 1):
                if count == leaves_after:
                    call.cancel()
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.CANCELLED, error

    def run_round(self, first):
        waiting, failures = queue.SimpleQueue(), []
        for seed in range(first, first + ROUND):
            waiting.put(seed)

        def client():
            while not failures:
                try:
                    seed = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    self.one(seed)
                except BaseException as error:  # told by the main thread
                    failures.append((seed, repr(error)))

        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(600)
        self.assertEqual(failures, [])
        self.assertFalse(any(thread.is_alive() for thread in clients))

    def held(self):
        """What the processes hold while nothing runs."""
        gateway, worker = self.server.process.pid, self.server.worker_pid()
        counters = self.server.settle()
        self.assertEqual(counters["shardline_kv_blocks_used"], 0)
        # A connection of the scraper goes a little later.
        few = min(descriptors(gateway) for _ in range(100))
        return {"gateway bytes": status(gateway, "RssAnon") * 1024, "worker bytes": status(worker, "RssAnon") * 1024,
                "gateway descriptors": few, "worker descriptors": descriptors(worker),
                "gateway threads": status(gateway, "Threads"), "worker threads": status(worker, "Threads")}

    def test_nothing_stays_of_many_requests(self):
        worker, before = self.server.worker_pid(), self.server.settle()["shardline_requests_accepted_total"]
        rounds, begun = [], time.monotonic()
        for first in range(0, REQUESTS, ROUND):
            self.run_round(first)
            rounds.append(self.held())
            print(f"{first + ROUND} requests, {time.monotonic() - begun:.0f} s: {rounds[-1]}", flush=True)
        counters = self.server.settle()
        self.assertEqual(self.server.worker_pid(), worker)
        self.assertEqual(counters["shardline_requests_accepted_total"] - before, REQUESTS)
        warm, last = rounds[WARM // ROUND - 1], rounds[-1]
        for key, most in (("gateway bytes", SLACK_BYTES), ("worker bytes", SLACK_BYTES), ("gateway descriptors", 0),
                          ("worker descriptors", 0), ("gateway threads", 4), ("worker threads", 0)):
            self.assertLessEqual(last[key] - warm[key], most, f"{key}: {[held[key] for held in rounds]}")


if __name__ == "__main__":
    run()
