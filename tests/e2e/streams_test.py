"""What one stream holds: its events, logprobs against the goldens, how it ends."""

import math

import grpc

import models
from harness import ServerTest, Server, pb, request, run, gather

TOLERANCE = 1e-4


class Goldens(ServerTest):
    def check(self, server, case):
        answer = server.generate(case["prompt"], max_new=len(case["output"]), top=5,
                                 logprobs=pb.LogprobParams(prompt=True))
        self.assertEqual(answer.ids, case["output"])
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_LENGTH)
        for token, row in zip(answer.tokens, case["output_logprobs"]):
            self.check_token(token, row)
            self.assertEqual(token.rank, 1)  # greedy
        self.assertEqual([token.id for token in answer.prompt], case["prompt"])
        self.assertFalse(answer.prompt[0].HasField("logprob"))
        for token, row in zip(answer.prompt[1:], case["logprobs"]):
            self.check_token(token, row)

    def check_token(self, token, row):
        self.assertAlmostEqual(token.logprob, row[token.id], delta=TOLERANCE)
        likelier = sum(value > row[token.id] + TOLERANCE for value in row)
        as_likely = sum(abs(value - row[token.id]) <= TOLERANCE for value in row)
        self.assertGreater(token.rank, likelier)
        self.assertLessEqual(token.rank, likelier + as_likely)
        self.assertEqual(len(token.top), 5)
        best = sorted(row, reverse=True)
        for i, candidate in enumerate(token.top):
            self.assertAlmostEqual(candidate.logprob, row[candidate.id], delta=TOLERANCE)
            self.assertAlmostEqual(candidate.logprob, best[i], delta=TOLERANCE)
        self.assertEqual(len({candidate.id for candidate in token.top}), 5)

    def test_safetensors(self):
        for case in models.reference("llama"):
            self.check(self.server, case)

    def test_gguf(self):
        for name in ("gguf_f32", "gguf_q4_1"):
            server = Server(models.GOLDEN / name / "model.gguf")
            try:
                for case in models.reference(name):
                    self.check(server, case)
            finally:
                self.assertEqual(server.stop(), 0)


class Streams(ServerTest):
    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, eos_token_id=cls.case()["output"][6])

    @staticmethod
    def case():
        return models.reference("llama")[2]

    def greedy_until(self, token):
        output = self.case()["output"]
        return output[:output.index(token) + 1]

    def test_accepted_tells_what_was_asked(self):
        answer = self.server.generate([1, 2, 3], max_new=2, request_id="mine")
        self.assertEqual(answer.accepted.request_id, "mine")
        self.assertEqual(answer.accepted.model, self.server.model)
        self.assertEqual(answer.accepted.prompt_tokens, 3)
        made = [self.server.generate([1], max_new=1).accepted for _ in range(3)]
        self.assertEqual(len({accepted.request_id for accepted in made}), 3)
        self.assertTrue(all(len(accepted.request_id) >= 22 for accepted in made))  # 128 bits
        self.assertEqual(len({accepted.seed for accepted in made}), 3)

    def test_no_logprobs_unless_asked(self):
        for token in self.server.generate([5, 6], max_new=4, stopping=pb.StoppingParams(ignore_eos=True)).tokens:
            self.assertFalse(token.HasField("logprob") or token.HasField("rank") or token.top)
        for token in self.server.generate([5, 6], max_new=4, top=0).tokens:
            self.assertTrue(token.HasField("logprob") and token.HasField("rank"))
            self.assertFalse(token.top)

    def test_end_of_sequence(self):
        case = self.case()
        answer = self.server.generate(case["prompt"], max_new=20)
        self.assertEqual(answer.ids, self.greedy_until(case["output"][6]))
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_EOS)
        self.assertEqual(answer.finished.stop_token_id, case["output"][6])

    def test_ignored_end_of_sequence(self):
        case = self.case()
        answer = self.server.generate(case["prompt"], max_new=10, stopping=pb.StoppingParams(ignore_eos=True))
        self.assertEqual(answer.ids, case["output"])
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_LENGTH)

    def test_stop_token(self):
        case = self.case()
        stop = case["output"][3]
        answer = self.server.generate(case["prompt"], max_new=10, stopping=pb.StoppingParams(stop_token_ids=[stop]))
        self.assertEqual(answer.ids, self.greedy_until(stop))
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_STOP_TOKEN)
        self.assertEqual(answer.finished.stop_token_id, stop)

    def test_least_length_masks_the_end(self):
        case = self.case()
        end = case["output"][6]
        answer = self.server.generate(case["prompt"], max_new=12, stopping=pb.StoppingParams(min_new_tokens=9))
        self.assertGreaterEqual(len(answer.ids), 9)
        self.assertNotIn(end, answer.ids[:9])

    def test_nothing_to_make(self):
        case = self.case()
        answer = self.server.generate(case["prompt"], max_new=0, logprobs=pb.LogprobParams(prompt=True))
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_LENGTH)
        self.assertEqual((answer.ids, answer.text), ([], ""))
        self.assertEqual(len(answer.prompt), len(case["prompt"]))
        for token, row in zip(answer.prompt[1:], case["logprobs"]):
            self.assertAlmostEqual(token.logprob, row[token.id], delta=TOLERANCE)

    def test_echo_without_logprobs(self):
        answer = self.server.generate([7, 8, 9], max_new=1, echo=True)
        self.assertEqual([token.id for token in answer.prompt], [7, 8, 9])
        self.assertFalse(any(token.HasField("logprob") for token in answer.prompt))

    def test_truncation_keeps_the_last_tokens(self):
        case = self.case()
        answer = self.server.generate([99] * 200 + case["prompt"], max_new=4, echo=True,
                                      truncate_prompt_tokens=len(case["prompt"]))
        self.assertEqual([token.id for token in answer.prompt], case["prompt"])
        self.assertEqual(answer.accepted.prompt_tokens, len(case["prompt"]))
        self.assertEqual(answer.ids, case["output"][:4])

    def test_default_length_is_what_the_context_holds(self):
        answer = self.server.generate([1] * 100, stopping=pb.StoppingParams(ignore_eos=True))
        self.assertEqual(len(answer.ids), 28)  # of 128
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_LENGTH)
        answer = self.server.generate([1] * 128)
        self.assertEqual((len(answer.ids), answer.finished.reason), (0, pb.FINISH_REASON_LENGTH))

    def test_cancelled_call_ends_the_request(self):
        before = self.server.metrics()
        call = self.server.stream(request([1, 2], stopping=pb.StoppingParams(ignore_eos=True)))
        next(iter(call))
        call.cancel()
        with self.assertRaises(grpc.RpcError):
            list(call)
        after = self.server.settle()
        ended = {outcome: after[key] - before.get(key, 0) for outcome in ("cancelled", "length")
                 for key in [f'shardline_requests_total{{outcome="{outcome}"}}']}
        self.assertEqual(sum(ended.values()), 1, ended)  # it may have been quicker than the cancellation

    def test_timing(self):
        timing = self.server.generate([1, 2, 3], max_new=3, stopping=pb.StoppingParams(ignore_eos=True)).finished.timing
        for value in (timing.queue_seconds, timing.time_to_first_token_seconds, timing.decode_seconds):
            self.assertTrue(math.isfinite(value) and 0 <= value < 60)
        self.assertGreater(timing.time_to_first_token_seconds, 0)


if __name__ == "__main__":
    run()
