"""Every way to ask wrongly: INVALID_ARGUMENT with the field's path, in the message and in BadRequest."""

import math

import grpc

import models
from harness import Server, ServerTest, control_pb, details, pb, request, rpc_pb, run

S, T, L = pb.SamplingParams, pb.StoppingParams, pb.LogprobParams
NAN, INFINITE = math.nan, math.inf

# The path that the answer must name, and what is wrong.
WRONG = [
    *(("sampling.temperature", {"sampling": S(temperature=v)}) for v in (-0.1, 100.5, NAN, INFINITE)),
    *(("sampling.top_p", {"sampling": S(top_p=v)}) for v in (0, -1, 1.01, NAN)),
    *(("sampling.typical_p", {"sampling": S(typical_p=v)}) for v in (0, 1.5, -INFINITE)),
    *(("sampling.min_p", {"sampling": S(min_p=v)}) for v in (-0.01, 1.01, NAN)),
    *(("sampling.repetition_penalty", {"sampling": S(repetition_penalty=v)}) for v in (0, -1, 10.5, NAN)),
    *(("sampling.frequency_penalty", {"sampling": S(frequency_penalty=v)}) for v in (-2.1, 2.1)),
    *(("sampling.presence_penalty", {"sampling": S(presence_penalty=v)}) for v in (-2.1, 2.1, NAN)),
    *(("sampling.top_k", {"sampling": S(top_k=v)}) for v in (2 ** 31, 2 ** 32 - 1)),
    *(("sampling.repeat_last_n", {"sampling": S(repeat_last_n=v)}) for v in (-2, -2 ** 31)),
    *(("sampling.logit_bias[3]", {"sampling": S(logit_bias={3: v})}) for v in (-100.5, 101, NAN)),
    ("sampling.logit_bias[128]", {"sampling": S(logit_bias={128: 1})}),
    ("sampling.logit_bias", {"sampling": S(logit_bias={i: 1 for i in range(1025)})}),
    ("stopping.max_new_tokens", {"stopping": T(max_new_tokens=126)}),
    ("stopping.max_new_tokens", {"stopping": T(max_new_tokens=2 ** 32 - 1)}),
    ("stopping.min_new_tokens", {"stopping": T(max_new_tokens=3, min_new_tokens=4)}),
    ("stopping.min_new_tokens", {"stopping": T(min_new_tokens=126)}),
    ("stopping.stop_token_ids[1]", {"stopping": T(stop_token_ids=[5, 128])}),
    ("stopping.stop_strings", {"stopping": T(stop_strings=["a"])}),  # no tokenizer
    ("stopping.stop_strings", {"stopping": T(stop_strings=["a"] * 17)}),
    ("stopping.stop_strings[1]", {"stopping": T(stop_strings=["a", ""])}),
    ("stopping.stop_strings[0]", {"stopping": T(stop_strings=["a" * 257])}),
    *(("logprobs.top", {"logprobs": L(top=v)}) for v in (65, 2 ** 32 - 1)),
    *(("n", {"n": v}) for v in (0, 129)),
    ("truncate_prompt_tokens", {"truncate_prompt_tokens": 0}),
    *(("detach_seconds", {"detach_seconds": v}) for v in (-1, NAN)),
    ("token_ids.ids[2]", {"token_ids": pb.TokenIds(ids=[1, 2, 128, 999])}),
    ("token_ids.ids[0]", {"token_ids": pb.TokenIds(ids=[2 ** 32 - 1])}),
    ("token_ids", {"token_ids": pb.TokenIds()}),
    ("token_ids", {"token_ids": pb.TokenIds(ids=[1] * 129)}),
    ("text", {"text": "hello"}),  # no tokenizer
    ("chat", {"chat": pb.ChatPrompt(messages=[pb.ChatMessage(role="user", content="hi")])}),
]
# Fields that the contract has and this build does not serve: refused by name, not ignored.
UNSERVED = [
    ("n", {"n": 2}),
    ("cache_salt", {"cache_salt": "tenant"}),
    ("detach_seconds", {"detach_seconds": 5}),
]


class Validation(ServerTest):
    def check(self, path, fields):
        made = request(**fields) if "sampling" in fields else request(sampling=S(), **fields)
        if made.WhichOneof("prompt") is None:
            made.token_ids.ids.extend([1, 2, 3])
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.stream(made))
        self.assertIn(path, error.details())
        violations = details(error, rpc_pb.BadRequest).field_violations
        self.assertTrue(violations)
        named = violations[0].field
        self.assertTrue(named == path or named.startswith(path + "."), f"{named}, not {path}")

    def test_wrong_fields_are_named(self):
        for path, fields in WRONG:
            with self.subTest(path=path, fields=str(fields)):
                self.check(path, fields)

    def test_unserved_fields_are_refused_by_name(self):
        for path, fields in UNSERVED:
            with self.subTest(path=path):
                self.check(path, fields)

    def test_no_prompt(self):
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT,
                             lambda: self.server.stream(pb.GenerateRequest()))
        for field in ("text", "token_ids", "chat"):
            self.assertIn(field, error.details())

    def test_unknown_fields_are_not_ignored(self):
        made = request([1], max_new=1).SerializeToString() + bytes([0xF8, 0x3F, 0x01])  # field 1023 = 1
        call = self.server.channel.unary_stream("/shardline.v1.Inference/Generate",
                                                response_deserializer=pb.GenerateEvent.FromString)
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(made, timeout=30))
        self.assertIn("1023", error.details())

    def test_rejected_requests_are_counted(self):
        key = 'shardline_requests_total{outcome="rejected"}'
        before = self.server.metrics().get(key, 0)
        self.check(*WRONG[0])
        self.assertEqual(self.server.metrics()[key], before + 1)

    def test_unknown_model(self):
        self.refused(grpc.StatusCode.NOT_FOUND, lambda: self.server.stream(request([1], model="another")))
        self.assertIsNone(self.server.generate([1], max_new=1, model=self.server.model).error)

    def test_limits_are_told_as_enforced(self):
        info = self.server.control.GetServerInfo(control_pb.GetServerInfoRequest(), timeout=30)
        told = {limit.field: limit for limit in info.limits.parameters}
        self.assertEqual((told["sampling.top_p"].min, told["sampling.top_p"].min_exclusive, told["sampling.top_p"].max),
                         (0, True, 1))
        self.assertEqual((told["logprobs.top"].min, told["logprobs.top"].max), (0, 64))
        self.assertFalse(told["cache_salt"].served)
        self.assertEqual(info.limits.max_receive_bytes, 64 << 20)

    def test_the_edges_are_served(self):
        for fields in ({"sampling": S(temperature=100, top_p=1, typical_p=1, min_p=1, repetition_penalty=10,
                                      frequency_penalty=2, presence_penalty=-2, top_k=2 ** 31 - 1, repeat_last_n=-1,
                                      logit_bias={127: 100, 0: -100})},
                       {"stopping": T(max_new_tokens=125, ignore_eos=True)}, {"logprobs": L(top=64)}, {"n": 1},
                       {"stopping": T(max_new_tokens=4, min_new_tokens=4)}, {"token_ids": pb.TokenIds(ids=[127] * 128)},
                       {"detach_seconds": 0}, {"priority": -2 ** 31}):
            with self.subTest(fields=str(fields)):
                made = request(**fields)
                if made.WhichOneof("prompt") is None:
                    made.token_ids.ids.extend([1, 2, 3])
                events = list(self.server.stream(made))
                self.assertEqual(events[-1].WhichOneof("event"), "finished")


class FullQueue(ServerTest):
    FLAGS = ("--max-queued-requests=2", "--max-queued-tokens=20", "--max-sequences=1")

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000)

    def test_resource_exhausted_with_a_hint_when_to_retry(self):
        calls = [self.server.stream(request([1], stopping=T(ignore_eos=True)))]
        next(iter(calls[0]))
        try:
            with self.assertRaises(grpc.RpcError) as caught:
                for _ in range(8):  # the first may go to the worker at once
                    calls.append(self.server.stream(request([1], max_new=1)))
                    next(iter(calls[-1]))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertGreater(details(caught.exception, rpc_pb.RetryInfo).retry_delay.ToTimedelta().total_seconds(), 0)
        finally:
            for call in calls:
                call.cancel()


if __name__ == "__main__":
    run()
