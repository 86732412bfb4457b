"""`shardline inspect --spec`: what the worker makes of a model's files, asked through the command line."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import models

BUILD = pathlib.Path(os.environ.get("SHARDLINE_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build" / "release"))
SECONDS = 120


def inspect(*arguments):
    """Exit code, standard output, standard error."""
    done = subprocess.run([BUILD / "bin" / "shardline", "inspect", *map(str, arguments)], capture_output=True, text=True,
                          timeout=SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


def words(text):
    """The text with single spaces, so that widths of columns do not matter."""
    return re.sub(r" +", " ", text)


class Spec(unittest.TestCase):
    def spec(self, name):
        code, out, error = inspect("--spec", models.checkpoint(name))
        self.assertEqual((code, error), (0, ""), name)
        return words(out)

    def groups(self, text):
        """Layers, kv_heads, head_dim and window of the state groups."""
        found = re.findall(r"^\d+ (\d+) (\d+) (\d+) (\w+) (f32|bf16) (\d+)$", text, re.MULTILINE)
        for layers, kv_heads, head_dim, _, dtype, size in found:
            self.assertEqual(int(size), 2 * int(layers) * int(kv_heads) * int(head_dim) * 16 * {"f32": 4, "bf16": 2}[dtype])
        return [" ".join(group[:4]) for group in found]

    def test_names_every_tensor(self):
        for name in ("llama", "gguf_of_llama", "mistral", "qwen2_tied", "gguf_of_qwen2_tied", "gemma3", "gguf_of_gemma3",
                     "biases_linear", "gguf_biases_yarn"):
            with self.subTest(name):
                text = self.spec(name)
                tensors = json.loads(inspect("--json", models.checkpoint(name))[1])["tensors"]
                self.assertGreater(len(tensors), 10)
                for tensor in tensors:
                    starred = re.sub(r"\.\d+\.", ".*.", tensor["name"])
                    self.assertIn(f"] {starred}", text)
                    self.assertEqual(text.count(f" {starred}\n") + text.count(f" {starred} ("),
                                     2 if "gemma3" in name and "*" in starred else 1, starred)

    def test_llama(self):
        for name, weights in (("llama", "model.layers.*.self_attn.q_proj.weight"),
                              ("gguf_of_llama", "blk.*.attn_q.weight (heads interleaved)")):
            text = self.spec(name)
            for line in ("family llama", "head a matrix of its own", "\nblocks 0-2\n", "attn 4 heads, 2 kv_heads, head_dim 16, no window",
                         "mlp inner 112, silu", f"*.attn.q.weight [heads 64, hidden 64] {weights}\n", "\nheads 64 32\n",
                         "\nkv_heads 32 16\n", "\nffn 112 32\n"):
                self.assertIn(line, text)
            self.assertEqual(self.groups(text), ["3 2 16 none"])

    def test_mistral(self):
        text = self.spec("mistral")
        for line in ("family mistral", "head_dim 24, window 8"):
            self.assertIn(line, text)
        self.assertEqual(self.groups(text), ["2 2 24 8"])

    def test_qwen2(self):
        for name, weights in (("qwen2_tied", "model.layers.*.self_attn.k_proj.bias"),
                              ("gguf_of_qwen2_tied", "blk.*.attn_k.bias")):
            text = self.spec(name)
            for line in ("family qwen2", "head the embedding's matrix", "biases of q, k, v", f"[kv_heads 32] {weights}\n"):
                self.assertIn(line, text)
        text = self.spec("qwen2_windows")  # the first block sees everything
        for line in ("\nblock 0\n", "\nblocks 1-2\n"):
            self.assertIn(line, text)
        self.assertEqual(self.groups(text), ["1 2 24 none", "2 2 24 8"])

    def test_gemma3(self):
        for name in ("gemma3", "gguf_of_gemma3"):
            text = self.spec(name)
            for line in ("family gemma3", "embedding times 8", "\nblocks 0-1, 3\n", "\nblock 2\n", "x += norm1_out(attn(norm1(x)))",
                         "norms of queries' and keys' heads", "theta 10000, 24 dimensions\n", "24 dimensions, linear by 8\n"):
                self.assertIn(line, text)
            self.assertEqual(self.groups(text), ["3 2 24 8", "1 2 24 none"])

    def test_weights_of_eight_bits(self):
        text = self.spec("qwen3_fp8")
        for line in ("quantisation F8_E4M3\n",
                     "model.layers.*.self_attn.q_proj.weight (F8_E4M3, a scale for 128 x 128)\n",
                     "model.layers.*.self_attn.o_proj.weight\n"):
            self.assertIn(line, text)
        types = {tensor["type"] for tensor in json.loads(inspect("--json", models.checkpoint("qwen3_fp8"))[1])["tensors"]}
        self.assertEqual(types, {"BF16", "F8_E4M3"})

    def test_families(self):
        code, out, error = inspect("--families")
        self.assertEqual((code, error), (0, ""))
        self.assertIn("\n| `llama` | Llama", out)

    def test_errors_are_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            cut = folder / "cut.gguf"
            cut.write_bytes(models.checkpoint("gguf_q4_0").read_bytes()[:300])
            missing = models.copy_of("llama", folder / "missing", num_hidden_layers=4)
            config = models.copy_of("llama", folder / "config", hidden_size="wide")
            shards = folder / "shards"
            shutil.copytree(models.GOLDEN / "biases_linear", shards)
            (shards / "model-00002-of-00003.safetensors").unlink()
            for path, reason in ((cut, "cut.gguf"), (missing, "missing tensors: model.layers.3.self_attn.q_proj.weight"),
                                 (config, "hidden_size"), (shards, "model-00002-of-00003"), (folder / "none", "none"),
                                 (folder, "config.json")):
                code, out, error = inspect("--spec", path)
                self.assertEqual((code, out), (2, ""), path)
                self.assertEqual(error.count("\n"), 1, error)
                self.assertIn(reason, error)

    def test_bad_arguments(self):
        for arguments in (("--spec",), ("--spec", "a", "b"), ("--spec", "--json", "a"), ("--families", "a"),
                          ("--families", "--json")):
            code, out, error = inspect(*arguments)
            self.assertEqual((code, out, error.count("\n")), (2, "", 1), error)


if __name__ == "__main__":
    unittest.main(verbosity=2)
