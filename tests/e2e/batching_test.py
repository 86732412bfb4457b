"""The same bits in any company: alone, among strangers, with any chunking; and what cancelled streams leave behind."""

import pathlib
import random
import tempfile
import threading

import grpc

import models
from harness import Server, ServerTest, gather, pb, request, run


def varied_requests(count, seed):
    """Requests of all lengths and parameters, each a function of the seed."""
    generator = random.Random(seed)
    made = []
    for i in range(count):
        prompt = [generator.randrange(128) for _ in range(generator.choice([1, 2, 9, 33, 70]))]
        sampling = pb.SamplingParams(temperature=generator.choice([0, 0.7, 1.2]), seed=generator.randrange(2 ** 64),
                                     top_p=generator.choice([0.8, 1]), repetition_penalty=generator.choice([1, 1.2]))
        made.append(request(prompt, max_new=generator.randrange(5, 50), top=3, sampling=sampling))
    return made


class Batching(ServerTest):
    def alone(self, requests):
        return [gather(self.server.stream(made)) for made in requests]

    def assert_same(self, left, right):
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            self.assertEqual(a.bits, b.bits, f"request {i}")
            self.assertEqual(a.finished.reason, b.finished.reason)

    def test_same_bits_among_strangers(self):
        requests = varied_requests(8, seed=1)
        alone = self.alone(requests)
        for seed in range(3):
            strangers = varied_requests(8, seed=100 + seed)
            together = self.server.generate_all(strangers[:4] + requests + strangers[4:])
            self.assert_same(alone, together[4:12])

    def test_same_bits_with_any_chunking(self):
        requests = varied_requests(8, seed=2)
        alone = self.alone(requests)
        for flags in (("--max-batch-tokens=7",), ("--max-batch-tokens=1", "--max-sequences=3"), ("--threads=2",)):
            server = Server(pathlib.Path(self.folder.name) / "tiny", *flags)
            try:
                self.assert_same(alone, server.generate_all(requests))
                server.settle()
            finally:
                self.assertEqual(server.stop(), 0, flags)

    def test_same_prompt_logprobs_with_any_company(self):
        prompt = varied_requests(1, seed=3)[0].token_ids.ids
        made = request(list(prompt) * 3, max_new=1, logprobs=pb.LogprobParams(prompt=True, top=2))
        alone = gather(self.server.stream(made))
        together = self.server.generate_all([made, *varied_requests(6, seed=4), made])
        for answer in (together[0], together[-1]):
            self.assertEqual([token.SerializeToString() for token in answer.prompt],
                             [token.SerializeToString() for token in alone.prompt])

    def test_a_third_of_48_streams_is_cancelled(self):
        requests = varied_requests(48, seed=5)
        alone = self.alone(requests)
        before = self.server.settle()
        calls = [self.server.stream(made) for made in requests]
        answers = [None] * len(calls)

        def read(i):
            if i % 3 != 0:
                answers[i] = gather(calls[i])
                return
            events = []
            try:
                for event in calls[i]:
                    events.append(event)
                    if len(events) == 1 + i % 5:
                        calls[i].cancel()
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.CANCELLED, error

        threads = [threading.Thread(target=read, args=(i,)) for i in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        kept = [i for i in range(48) if i % 3 != 0]
        self.assert_same([alone[i] for i in kept], [answers[i] for i in kept])
        after = self.server.settle()  # no KV block is held
        self.assertEqual(after["shardline_requests_accepted_total"] - before["shardline_requests_accepted_total"], 48)


class LittleMemory(ServerTest):
    """Room for about two of the requests' caches: sequences wait or are preempted, and nothing shows."""
    FLAGS = ("--max-context=128", "--kv-cache-bytes=262144")

    def test_same_bits_when_the_cache_is_short(self):
        requests = varied_requests(12, seed=6)
        together = self.server.generate_all(requests)
        with tempfile.TemporaryDirectory() as folder:
            server = Server(models.copy_of("llama", folder))
            try:
                for made, answer in zip(requests, together):
                    self.assertIsNone(answer.error)
                    self.assertEqual(gather(server.stream(made)).bits, answer.bits)
            finally:
                self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    run()
