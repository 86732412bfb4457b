"""Every family in both formats and every type: the reference's tokens, and the same bits with a cache, without one, in
chunks and among strangers; and queries, keys and values that are one tensor in the file."""

import concurrent.futures
import os
import pathlib
import random
import tempfile
import unittest

import models
from harness import Server, gather, pb, request, run

CHECKPOINTS = ("llama", "gguf_of_llama", "qwen2_tied", "gguf_of_qwen2_tied", "qwen2_windows", "mistral", "gemma3",
               "gguf_of_gemma3", "chatglm", "gguf_candle_mistral", "qwen2_moe", "granite_moe_shared",
               "gguf_of_deepseek_moe", "deepseek_v2", "gguf_of_deepseek_v3", "mamba",
               "gguf_of_falcon_mamba")
JOINED = ("gguf_of_llama", "gguf_of_gemma3", "gguf_biases_yarn")
DTYPES = ("f32",) if os.environ.get("SHARDLINE_SANITIZE") else ("f32", "bf16", "f16")  # the same code, minutes
TOP = 5
FLAGS = ("--max-sequences=16", "--kv-cache-bytes=4194304")


def requests_of(cases, vocabulary, seed):
    """The reference's own, and some that are sampled."""
    generator = random.Random(seed)
    made = [request(case["prompt"], logprobs=pb.LogprobParams(top=TOP, prompt=True),
                    stopping=pb.StoppingParams(ignore_eos=True, max_new_tokens=len(case["output"]))) for case in cases]
    for length in (1, 9, 30):
        made.append(request([generator.randrange(vocabulary) for _ in range(length)], top=TOP,
                            stopping=pb.StoppingParams(ignore_eos=True, max_new_tokens=12),
                            sampling=pb.SamplingParams(temperature=1, seed=generator.randrange(99))))
    return made


def bits(answer):
    assert answer.error is None, answer.error
    return [token.SerializeToString() for token in answer.prompt], answer.bits


class Families(unittest.TestCase):
    def answers(self, path, *flags, together=()):
        """Bits of the requests, which a server answers one by one, or all at once among `together`."""
        server = Server(path, *FLAGS, *flags)
        try:
            answers = server.generate_all([*together, *self.requests]) if together else \
                [gather(server.stream(made)) for made in self.requests]
            server.settle()
            return answers[len(together):]
        finally:
            self.assertEqual(server.stop(), 0, flags)

    def take(self, name):
        self.cases = models.reference(name)
        self.vocabulary = len(self.cases[0]["logprobs"][0])
        self.requests = requests_of(self.cases, self.vocabulary, seed=1)

    def check_reference(self, answers):
        for case, answer in zip(self.cases, answers):
            self.assertEqual(answer.ids, case["output"])
            for token, row in zip(answer.tokens, case["output_logprobs"], strict=True):
                self.assertAlmostEqual(token.logprob, row[token.id], delta=1e-4)
                for candidate in token.top:
                    self.assertAlmostEqual(candidate.logprob, row[candidate.id], delta=1e-4)
            for token, row in zip(answer.prompt[1:], case["logprobs"]):
                self.assertAlmostEqual(token.logprob, row[token.id], delta=1e-4)

    def check(self, name, dtype):
        """One server alone, the others beside it: what takes long is starting them."""
        path, flag = models.checkpoint(name), f"--dtype={dtype}"
        strangers = requests_of([], self.vocabulary, seed=2) * 2
        ways = [((flag,), ())]
        if dtype == "f32":
            ways += [((flag, "--no-kv-cache"), ()), ((flag, "--max-batch-tokens=7"), strangers)]
        else:
            ways += [((flag, "--no-kv-cache", "--max-batch-tokens=7"), strangers)]
        with concurrent.futures.ThreadPoolExecutor(len(ways)) as pool:
            alone, *others = pool.map(lambda way: self.answers(path, *way[0], together=way[1]), ways)
        if dtype == "f32":
            self.check_reference(alone)
        for (flags, _), answers in zip(ways[1:], others):
            self.assertEqual([bits(answer) for answer in answers], [bits(answer) for answer in alone], flags)
        return alone

    def test_fewer_recurrent_states_than_sequences(self):
        self.take("mamba")
        server = Server(models.checkpoint("mamba"), "--dtype=f32", "--max-sequences=16", "--kv-cache-bytes=40000")
        try:
            self.assertEqual(server.metrics()["shardline_kv_blocks_total"], 2)
            answers = server.generate_all(self.requests * 3)
            server.settle()
        finally:
            self.assertEqual(server.stop(), 0)
        self.check_reference(answers[:len(self.cases)])
        for answer, again in zip(answers, answers[len(self.requests):]):
            self.assertEqual(bits(answer), bits(again))

    def test_joined_queries_keys_and_values(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in JOINED:
                self.take(name)
                joined = models.with_joined_attention(name, pathlib.Path(folder) / f"{name}.gguf")
                with concurrent.futures.ThreadPoolExecutor(2) as pool:
                    answers, expected = pool.map(self.answers, (joined, models.checkpoint(name)))
                self.check_reference(answers)
                self.assertEqual([bits(answer) for answer in answers], [bits(answer) for answer in expected], name)


def add_tests():
    def test_of(name):
        def test(self):
            self.take(name)
            answers = [str([bits(answer) for answer in self.check(name, dtype)]) for dtype in DTYPES]
            self.assertEqual(len(set(answers)), len(DTYPES), "types do not differ")
        return test

    for name in CHECKPOINTS:
        setattr(Families, f"test_{name}", test_of(name))


if __name__ == "__main__":
    add_tests()
    run()
