"""Many streams at once that read, dawdle, stand still, leave, come back and are aborted: nothing of them stays."""

import pathlib
import random
import threading
import time

import grpc

import models
from harness import SMALL_WINDOW, Reading, ServerTest, gather, pb, request, run, stub_of, until

STREAMS = 200
CONTEXT = 4096
ENDLESS = pb.StoppingParams(ignore_eos=True)
STALLED = "--stalled-reader-seconds=1"


def memory(pid):
    """Bytes of a process that no file backs."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


class Storm(ServerTest):
    FLAGS = ("--kv-cache-bytes=16777216", "--max-sequences=64", STALLED)

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=CONTEXT)

    # ---- what a stream may do; each is one client in a thread of its own

    def made(self, generator, **fields):
        fields.setdefault("stopping", pb.StoppingParams(ignore_eos=True, max_new_tokens=generator.randrange(1, 60)))
        return request([generator.randrange(128) for _ in range(generator.choice([1, 20, 150]))],
                       n=generator.choice([1, 1, 2, 5]), top=generator.choice([None, 3]), echo=generator.choice([True, False]),
                       priority=generator.randrange(3), sampling=pb.SamplingParams(seed=generator.randrange(99)), **fields)

    def reads(self, generator, name):
        made = self.made(generator)
        reading = Reading(self.server.stream(made)).join()
        self.assertIsNone(reading.error)
        self.assertIsNone(gather(reading.events, n=made.n).error)

    def cancels(self, generator, name):
        call = self.server.stream(self.made(generator))
        Reading(call, stop_after=generator.randrange(1, 20)).join()
        call.cancel()

    def has_a_deadline(self, generator, name):
        Reading(self.server.inference.Generate(self.made(generator, stopping=ENDLESS), timeout=generator.uniform(0, 1))).join()

    def dawdles(self, generator, name):
        made, channel = self.made(generator), self.server.connect(*SMALL_WINDOW)
        events = []
        for event in stub_of(channel).Generate(made, timeout=60):
            events.append(event)
            if len(events) % 10 == 0:
                time.sleep(0.05)
        gather(events, n=made.n)
        channel.close()

    def stands_still(self, generator, name):
        # What it asks for fills the buffers on the way at once.
        made, channel = request([1] * 1800, stopping=ENDLESS, logprobs=pb.LogprobParams(top=64, prompt=True)), \
            self.server.connect(*SMALL_WINDOW)
        call = stub_of(channel).Generate(made, timeout=60)
        next(call)
        # Not read until the server has given it up.
        until(lambda: self.server.metrics()['shardline_requests_total{outcome="error"}'] >= self.given_up, 50, pause=0.2)
        channel.close()

    def comes_back(self, generator, name):
        made = self.made(generator, request_id=name, detach_seconds=60)
        call = self.server.stream(made)
        seen = list(Reading(call, stop_after=generator.randrange(1, 10)).join().events)
        call.cancel()
        seen += Reading(self.server.attach(name, len(seen) + 1)).join().events
        self.assertIsNone(gather(seen, n=made.n).error)

    def never_comes_back(self, generator, name):
        call = self.server.stream(self.made(generator, request_id=name, detach_seconds=0.3, stopping=ENDLESS))
        Reading(call, stop_after=1).join()
        call.cancel()

    def is_aborted(self, generator, name):
        made = self.made(generator, request_id=name, stopping=ENDLESS)
        reading = Reading(self.server.stream(made)).wait_for(1)
        time.sleep(generator.uniform(0, 0.2))
        self.server.abort(request_id=name)
        gather(reading.join().events, n=made.n)

    def is_refused(self, generator, name):
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.stream(request([1], n=0)))

    # ----

    def storm(self):
        """One round; how the server stands when it is over."""
        kinds = [self.reads, self.cancels, self.has_a_deadline, self.dawdles, self.comes_back, self.never_comes_back,
                 self.is_aborted, self.is_refused]
        still = STREAMS // 20
        key = 'shardline_requests_total{outcome="error"}'
        before = self.server.settle()
        self.given_up = before.get(key, 0) + still
        failures = []

        def client(i):
            generator = random.Random(i)
            kind = self.stands_still if i < still else generator.choice(kinds)
            try:
                kind(generator, f"storm{i}")
            except BaseException as error:  # told by the main thread
                failures.append((i, kind.__name__, repr(error)))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [])
        self.assertFalse(any(thread.is_alive() for thread in threads))
        after = self.server.settle()
        self.assertEqual(after[key] - before.get(key, 0), still)
        return after

    def fill_finished_streams(self):
        """As many bytes of finished streams as are ever kept: they count as memory that is in use."""
        ids = list(range(128)) * (CONTEXT // 128)
        for _ in range(60):
            self.server.generate_all([request(ids, max_new=0, n=128, echo=True)] * 20)

    def test_nothing_stays(self):
        gateway, worker = self.server.process.pid, self.server.worker_pid()
        self.fill_finished_streams()
        self.server.settle()
        descriptors_before = min(descriptors(gateway) for _ in range(100))  # the scrape's connection goes a little later
        before, grown = None, []
        for _ in range(8):  # the first ones warm up; what leaks grows with every one
            self.storm()
            until(lambda: descriptors(gateway) <= descriptors_before, what=f"{descriptors_before} descriptors")
            now = (memory(gateway), memory(worker))
            if before is not None:
                grown.append([after - earlier for earlier, after in zip(before, now)])
                if max(grown[-1]) < 2 << 20:
                    break
            before = now
        self.assertLess(max(grown[-1]), 2 << 20, grown)
        self.assertEqual(self.server.worker_pid(), worker)


class SlowReader(ServerTest):
    FLAGS = ("--kv-cache-bytes=268435456", STALLED)

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000)

    def test_a_reader_that_stands_still_is_paused_then_ended(self):
        made = request([5, 6, 7], max_new=500, top=2, sampling=pb.SamplingParams(temperature=1, seed=1), stopping=ENDLESS)
        alone, = self.server.generate_all([made])
        channel = self.server.connect(*SMALL_WINDOW)
        call = stub_of(channel).Generate(request([1, 2], top=64, stopping=ENDLESS), timeout=60)
        next(call)
        ends = self.server.metrics().get('shardline_requests_total{outcome="error"}', 0) + 1
        others = 0
        while self.server.metrics()['shardline_requests_total{outcome="error"}'] < ends:
            again, = self.server.generate_all([made])  # undisturbed
            self.assertEqual(again.bits, alone.bits)
            others += 1
        self.assertGreater(others, 0)
        events = list(call)  # what had been made is still there to read, then the reason
        self.assertEqual([event.event_seq for event in events], list(range(2, len(events) + 2)))
        error = events[-1].error
        self.assertEqual(error.code, pb.ERROR_CODE_OVERLOADED)
        tokens = sum(len(event.tokens.tokens) for event in events)
        self.assertEqual(error.usage.output_tokens, tokens)
        self.assertLess(tokens, 10000)  # a few megabytes at most, of 60000 tokens
        channel.close()

    def test_a_slow_reader_gets_everything(self):
        channel = self.server.connect(*SMALL_WINDOW)
        made = request([1, 2], top=64, max_new=6000, stopping=ENDLESS)
        events = []
        for event in stub_of(channel).Generate(made, timeout=60):
            events.append(event)
            if len(events) % 50 == 0 and len(events) <= 500:
                time.sleep(0.1)
        self.assertEqual(len(gather(events).ids), 6000)
        # The prompt's log-probabilities are megabytes too.
        made = request([i % 128 for i in range(5000)], max_new=0, logprobs=pb.LogprobParams(prompt=True, top=64))
        events = []
        for event in stub_of(channel).Generate(made, timeout=60):
            events.append(event)
            time.sleep(0.05)
        self.assertEqual([token.id for token in gather(events).prompt], list(made.token_ids.ids))
        channel.close()


if __name__ == "__main__":
    run()
