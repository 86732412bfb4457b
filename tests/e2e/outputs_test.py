"""Several outputs of one request: each is what (seed, index) gives, however many there are and whoever runs beside."""

import grpc

import models
from harness import Reading, Server, ServerTest, gather, pb, request, run, until

SAMPLED = pb.SamplingParams(temperature=1, seed=99)
LONG = pb.StoppingParams(ignore_eos=True, max_new_tokens=50000)


def outputs_request(n, prompt=(5, 6, 7), tokens=24, top=2, **fields):
    fields.setdefault("sampling", SAMPLED)
    return request(list(prompt), n=n, max_new=tokens, top=top, **fields)


class Outputs(ServerTest):
    def answers(self, *requests):
        return self.server.generate_all(requests)

    def bits(self, answer, count=None):
        return [output.bits for output in answer.outputs[:count]]

    def test_an_output_does_not_depend_on_their_number(self):
        four, eight = (self.answers(outputs_request(n))[0] for n in (4, 8))
        one, = self.answers(outputs_request(1))
        self.assertEqual(self.bits(four), self.bits(eight, 4))
        self.assertEqual(self.bits(one), self.bits(eight, 1))
        self.assertEqual(len({tuple(output.ids) for output in eight.outputs}), 8)

    def test_an_output_does_not_depend_on_the_company(self):
        # Prompts below, at and above a block of the cache, and over several.
        requests = [outputs_request(n, prompt=[i % 128 for i in range(length)], tokens=20)
                    for n, length in ((3, 1), (4, 15), (3, 16), (4, 17), (2, 33), (5, 100))]
        alone = [self.answers(made)[0] for made in requests]
        for made, left, right in zip(requests, alone, self.answers(*requests[::-1])[::-1]):
            self.assertEqual(self.bits(left), self.bits(right), f"{made.n} of {len(made.token_ids.ids)} tokens")

    def test_greedy_outputs_are_equal(self):
        answer, = self.answers(outputs_request(6, sampling=pb.SamplingParams(temperature=0)))
        self.assertEqual(len({str(output.bits) for output in answer.outputs}), 1)

    def test_most_outputs(self):
        answer, = self.answers(outputs_request(128, prompt=[1] * 40, tokens=10))
        self.assertEqual([len(output.ids) for output in answer.outputs], [10] * 128)
        self.assertEqual(answer.last.usage.output_tokens, 1280)
        self.assertEqual(answer.last.usage.prompt_tokens, 40)
        few, = self.answers(outputs_request(3, prompt=[1] * 40, tokens=10))
        self.assertEqual(self.bits(few), self.bits(answer, 3))

    def test_an_output_that_stops_leaves_the_others_alone(self):
        free, = self.answers(outputs_request(5, tokens=30))
        stop = free.outputs[2].ids[3]
        answer, = self.answers(outputs_request(5, tokens=30, stopping=pb.StoppingParams(stop_token_ids=[stop])))
        for whole, output in zip(free.outputs, answer.outputs):
            if stop in whole.ids:
                self.assertEqual(output.ids, whole.ids[:whole.ids.index(stop) + 1])
                self.assertEqual(output.finished.reason, pb.FINISH_REASON_STOP_TOKEN)
                self.assertEqual(output.finished.stop_token_id, stop)
            else:
                self.assertEqual(output.ids, whole.ids)
                self.assertEqual(output.finished.reason, pb.FINISH_REASON_LENGTH)

    def test_prompt_logprobs_come_once_and_first(self):
        made = outputs_request(4, prompt=range(60), logprobs=pb.LogprobParams(prompt=True, top=2))
        answer, = self.answers(made)  # gather checks that `prompt` events precede all others
        self.assertEqual([token.id for token in answer.prompt], list(range(60)))
        one, = self.answers(outputs_request(1, prompt=range(60), logprobs=pb.LogprobParams(prompt=True, top=2)))
        self.assertEqual([token.SerializeToString() for token in answer.prompt],
                         [token.SerializeToString() for token in one.prompt])
        self.assertEqual(self.bits(answer, 1), self.bits(one))

    def test_prompt_logprobs_without_any_output_token(self):
        for n in (1, 3):
            answer, = self.answers(outputs_request(n, prompt=range(40), tokens=0, logprobs=pb.LogprobParams(prompt=True)))
            self.assertEqual(len(answer.prompt), 40)
            self.assertEqual({output.finished.reason for output in answer.outputs}, {pb.FINISH_REASON_LENGTH})
            self.assertEqual(answer.last.usage.output_tokens, 0)

    def test_nothing_to_make_at_all(self):
        answer, = self.answers(outputs_request(128, tokens=0, top=None))
        self.assertEqual([output.ids for output in answer.outputs], [[]] * 128)

    def test_metrics_count_requests_not_outputs(self):
        before = self.server.settle()
        self.answers(outputs_request(7, prompt=range(20), tokens=5))
        after = self.server.settle()
        for name, grown in (("requests_accepted_total", 1), ("prompt_tokens_total", 20), ("output_tokens_total", 35),
                            ('requests_total{outcome="length"}', 1), ("time_to_first_token_seconds_count", 1)):
            name = f"shardline_{name}"
            self.assertEqual(after[name] - before.get(name, 0), grown, name)


class TextOutputs(ServerTest):
    @classmethod
    def make_model(cls, folder):
        return models.with_tokenizer(folder)

    def test_stop_strings_end_their_own_output(self):
        made = outputs_request(6, tokens=40, top=None, sampling=pb.SamplingParams(temperature=2, seed=3))
        made.stopping.ignore_eos = True
        free, = self.server.generate_all([made])
        texts = [output.text for output in free.outputs]
        stop = next(text[8:10] for text in texts if "\ufffd" not in text[8:10] and text[8:10].isascii())
        made.stopping.stop_strings.append(stop)
        answer, = self.server.generate_all([made])
        for whole, output in zip(texts, answer.outputs):
            self.assertEqual(output.text, whole.partition(stop)[0])
            expected = pb.FINISH_REASON_STOP_STRING if stop in whole else pb.FINISH_REASON_LENGTH
            self.assertEqual(output.finished.reason, expected)
        self.assertEqual(len({output.finished.reason for output in answer.outputs}), 2)


class LongOutputs(ServerTest):
    FLAGS = ("--kv-cache-bytes=268435456",)

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000)

    def start(self, n, prompt=(1, 2), **fields):
        """A request under way whose every output has a token."""
        made = request(list(prompt), n=n, stopping=LONG, **fields)
        reading = Reading(self.server.stream(made))
        until(lambda: len({event.tokens.output_index for event in list(reading.events) if event.HasField("tokens")}) == n,
              what="a token of every output")
        return reading

    def test_abort_ends_every_output(self):
        reading = self.start(5, request_id="five")
        self.assertEqual(self.server.abort(request_id="five"), 1)
        answer = gather(reading.join().events, n=5)
        self.assertEqual({output.finished.reason for output in answer.outputs}, {pb.FINISH_REASON_ABORTED})

    def test_cancel_frees_them_all(self):
        reading = self.start(5)
        reading.call.cancel()
        self.assertEqual(reading.join().code, grpc.StatusCode.CANCELLED)
        self.server.settle()

    def test_deadline(self):
        before = self.server.settle()
        for seconds in (0.5, 2, 10):  # a busy machine may take long to accept it
            call = self.server.inference.Generate(request([1, 2], n=5, stopping=LONG), timeout=seconds)
            reading = Reading(call).join()
            if reading.events:
                break
        if reading.error is None:  # the worker's notice may be the quicker one
            self.assertEqual(reading.events[-1].error.code, pb.ERROR_CODE_DEADLINE)
        else:
            self.assertEqual(reading.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        after = self.server.settle()
        name = 'shardline_requests_total{outcome="deadline"}'
        self.assertEqual(after[name] - before.get(name, 0), 1)

    def test_the_prompts_cache_is_held_once(self):
        block = 16  # tokens
        prompt = [i % 128 for i in range(100 * block)]
        reading = self.start(8, prompt=prompt)
        used = self.server.load().groups[0].kv_blocks_used
        tokens = sum(len(event.tokens.tokens) for event in list(reading.events))
        self.assertGreaterEqual(used, 100)
        self.assertLess(used, 200 + tokens / block + 8 * 64)  # eight prompts would be 800 and more
        reading.call.cancel()
        reading.join()


class FewSlots(ServerTest):
    """Outputs beyond what can run at once wait for a slot or for cache."""

    def test_more_outputs_than_sequences(self):
        made = outputs_request(20, prompt=range(40), tokens=12)
        answer, = self.server.generate_all([made])
        for flags in (("--max-sequences=3",), ("--kv-cache-bytes=131072", "--max-context=64"), ("--max-batch-tokens=7",)):
            server = Server(self.folder.name + "/tiny", *flags)
            try:
                again, = server.generate_all([made])
                self.assertEqual([output.bits for output in again.outputs],
                                 [output.bits for output in answer.outputs], flags)
                server.settle()
            finally:
                self.assertEqual(server.stop(), 0, flags)


if __name__ == "__main__":
    run()
