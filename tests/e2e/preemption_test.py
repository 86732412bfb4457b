"""A quarter of the cache that the load needs: sequences give up what they hold and compute it again, to the bit."""

import pathlib
import random

import models
from harness import Server, ServerTest, pb, request, run

CONTEXT = 256


def load(seed):
    """Requests that together fill many times one context."""
    generator = random.Random(seed)
    made = []
    for i in range(16):
        prompt = [generator.randrange(128) for _ in range(generator.choice([5, 40, 100]))]
        made.append(request(
            prompt, n=generator.choice([1, 1, 1, 3]), top=2, max_new=generator.randrange(60, 150),
            logprobs=pb.LogprobParams(top=2, prompt=i % 3 == 0), stopping=pb.StoppingParams(ignore_eos=True),
            sampling=pb.SamplingParams(temperature=generator.choice([0, 0.8]), seed=i, repetition_penalty=1.1)))
    # These alone need more than there is, whatever runs beside them.
    made.append(request([1, 2, 3], n=12, max_new=200, stopping=pb.StoppingParams(ignore_eos=True),
                        sampling=pb.SamplingParams(temperature=0.8, seed=99)))
    return made


def bits(answers):
    return [([output.bits for output in answer.outputs], [token.SerializeToString() for token in answer.prompt],
             [output.finished.reason for output in answer.outputs]) for answer in answers]


class Preemption(ServerTest):
    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=CONTEXT)

    def test_the_same_bits_with_little_cache(self):
        requests = load(1)
        ample = bits(self.server.generate_all(requests))
        now = self.server.settle()
        self.assertEqual(now["shardline_preemptions_total"], 0)
        # A block holds 16 tokens of 3 layers, 2 heads of 16 numbers of 4 bytes, keys and values.
        needed = sum((len(r.token_ids.ids) + (r.n or 1) * r.stopping.max_new_tokens) // 16 for r in requests)
        quarter = max(needed // 4, CONTEXT // 16 + 1) * 3 * 2 * 16 * 4 * 2 * 16
        for flags in (("--max-batch-tokens=512",), ("--max-batch-tokens=7",), ("--max-sequences=9", "--threads=2")):
            with self.subTest(flags=flags):
                server = Server(pathlib.Path(self.folder.name) / "tiny", f"--kv-cache-bytes={quarter}", *flags)
                try:
                    self.assertEqual(bits(server.generate_all(requests)), ample)
                    now = server.settle()
                    self.assertLess(now["shardline_kv_blocks_total"], needed / 3)
                    self.assertLess(now["shardline_kv_blocks_total"], 12 * 200 / 16)
                    if "--max-sequences=9" not in flags:
                        self.assertGreater(now["shardline_preemptions_total"], 0)
                finally:
                    self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    run()
