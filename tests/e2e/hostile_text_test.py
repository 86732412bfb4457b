"""Model folders whose tokenizer or chat template lies, paths that are no model, and files that change while they
are being read."""

import json
import os
import pathlib
import signal
import tempfile
import time
import unittest

import grpc

import models
from harness import Server, pb, run, until
from hostile import RESIDENT, Gguf, HostileTest, start

HUGE = 1 << 63
DEEP = 100000


def tokenizer_case(change, *words):
    """change(the tokenizer.json's value) makes a lie; returns other bytes for the file, or None."""
    def make(folder):
        path = models.with_tokenizer(folder / "tiny")
        file = path / "tokenizer.json"
        value = json.loads(file.read_text())
        data = change(value)
        file.write_bytes(data if isinstance(data, bytes) else json.dumps(value).encode())
        return path
    return make, ("tokenizer.json", *words)


def part(name, value, *words):
    return tokenizer_case(lambda json_value: json_value.update({name: value}), name, *words)


def in_model(key, value, *words):
    return tokenizer_case(lambda json_value: json_value["model"].update({key: value}), key, *words)


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def sequence(member, parts):
    return {"type": "Sequence", member: parts}


class Tokenizer(HostileTest):
    def test_text(self):
        def text(data):
            return tokenizer_case(lambda value: data(value) if callable(data) else data)

        self.all_refused({
            "empty": text(b""), "a list": text(b"[]"), "no UTF-8": text(b'{"model":"\xff"}'), "cut": text(lambda value: json.dumps(value).encode()[:-9]),
            "deep lists": text(b"[" * DEEP), "deep objects": text(b'{"a":' * DEEP), "10^7 values": text(b'{"a":[' + b"1," * 10 ** 7 + b"1]}"),
            "1e400": text(b'{"a":1e400}'), "spaces": text(b" " * 10 ** 8),
        })

    def test_model(self):
        def vocabulary(token, number):
            return tokenizer_case(lambda value: value["model"]["vocab"].update({token: number}), "vocab")

        def added(member, value, *words):
            return tokenizer_case(lambda json_value: json_value["added_tokens"][0].update({member: value}), "added_tokens[0]", *words)

        self.all_refused({
            **{f"id {number!r}": vocabulary("x", number) for number in (-1, 1.5, "1", None, 5, 1 << 22, 1 << 31, 1 << 32, HUGE, 2 * HUGE, 1e300)},
            "merge of no token": in_model("merges", ["zz zz"]), "into no token": in_model("merges", ["z z"]), "of one": in_model("merges", ["zz"]),
            "of three": in_model("merges", [["a", "b", "c"]]), "of numbers": in_model("merges", [[1, 2]]), "merges": in_model("merges", {"a": "b"}),
            "vocab": in_model("vocab", ["a"]), "no model": tokenizer_case(lambda value: value.pop("model") and None, "model"),
            "model 3": tokenizer_case(lambda value: value.update(model=3)), "type": in_model("type", "Spiral"), "type 3": in_model("type", 3),
            "dropout": in_model("dropout", 0.5), "byte_fallback": in_model("byte_fallback", 1), "unk_token": in_model("unk_token", 7),
            "an added id below 0": added("id", -1), "of 2^63": added("id", HUGE), "a content of another kind": added("content", 3),
            "special": added("special", "yes"), "added tokens": tokenizer_case(lambda value: value.update(added_tokens={"a": 1}), "added_tokens"),
        })
        self.all_served({
            "no bytes in the vocabulary": (tokenizer_case(lambda value: value["model"].update(vocab={"a": 0}, merges=[]))[0], ()),
            "more tokens than rows": tokenizer_case(lambda value: value["model"]["vocab"].update({"more": 3000}), "3001"),
        })

    def test_parts(self):
        doubling = sequence("normalizers", [replace("a", "aa")] * 60)
        self.all_refused({
            "an unknown normalizer": part("normalizer", {"type": "Spiral"}), "normalizer 3": part("normalizer", 3), "no type": part("normalizer", {}),
            "an invalid pattern": part("pre_tokenizer", split("(")), "repeats nothing": part("pre_tokenizer", split("+")), "an unknown property": part("pre_tokenizer", split(r"\p{Spiral}")),
            "an endless pattern": part("pre_tokenizer", split("a" * 100000)), "deep groups": part("pre_tokenizer", split("(" * 10000 + ")" * 10000)),
            "deep classes": part("pre_tokenizer", split("[" * 10000 + "]" * 10000)), "quantifiers": part("pre_tokenizer", split("a" + "?+" * 20000)),
            "repeats of repeats": part("pre_tokenizer", split("((((a{1,999}){1,999}){1,999}){1,999}){1,999}")), "borders": part("pre_tokenizer", split(r"\b" * 30000)),
            "sets": part("pre_tokenizer", split(r"[\w&&[^a-z]]" * 5000)), "a class too many": part("pre_tokenizer", split(r"(?i)" + "(é|[à-ÿ&&[^ö]])" * 4000)),
            "10^5 sequences": tokenizer_case(
                lambda value: (json.dumps(value)[:-1] + ',"normalizer":' + '{"type":"Sequence","normalizers":[' * DEEP + "]}" * DEEP + "}").encode()),
            "10^4 parts": part("normalizer", sequence("normalizers", [{"type": "NFC"}] * 10000)),
            "10^4 patterns": part("pre_tokenizer", sequence("pretokenizers", [split("a|b")] * 10000)),
            "a decoder that doubles": part("decoder", sequence("decoders", [replace("a", "aa")] * 60)),
            "a decoder's huge content": part("decoder", replace("a", "a" * 10 ** 7)),
            "an added token that doubles": tokenizer_case(lambda value: (value.update(normalizer=doubling), value["added_tokens"][0].update(content="<a>", normalized=True)) and None, "normalizer"),
            "templates that double": part("post_processor", sequence("processors", [
                {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2, "special_tokens": {}}] * 60)),
            "an id that is no token": part("post_processor", {"type": "BertProcessing", "cls": ["a", 1], "sep": ["b", 1 << 30]}),
            "an unknown decoder": part("decoder", {"type": "Spiral"}),
        })

    def test_special_files(self):
        def special(make, name):
            def lie(folder):
                path = models.with_tokenizer(folder / "tiny")
                (path / name).unlink(missing_ok=True)
                make(path / name)
                return path
            return lie, (name,)

        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json",
                     "chat_template.jinja"):
            self.all_refused({f"{name}: {kind}": special(make, name) for kind, make in (
                ("a pipe", os.mkfifo), ("a folder", os.mkdir), ("zeros", lambda path: path.symlink_to("/dev/zero")),
                ("a circle", lambda path: path.symlink_to(path.name)))})


class Serving(unittest.TestCase):
    """Odd files that are served: what costs too much is refused when it is asked for, and the server goes on."""

    def serve(self, change):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = models.with_tokenizer(pathlib.Path(folder.name) / "tiny")
        change(path)
        server = Server(path, "--kv-cache-bytes=16777216")
        self.addCleanup(server.stop, signal.SIGKILL)
        return server

    def refused(self, server, **prompt):
        with self.assertRaises(grpc.RpcError) as caught:
            server.generate(max_new=1, **prompt)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT, caught.exception.details())
        self.assertIsNone(server.generate([1, 2], max_new=2).error)
        peak = int(next(line.split()[1] for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
                        if line.startswith("VmHWM"))) << 10
        self.assertLess(peak, RESIDENT)

    def test_templates(self):
        chat = pb.ChatPrompt(messages=[pb.ChatMessage(role="user", content="hello")])
        for name, source in (("deep", "{{ " + "(" * DEEP + "1" + ")" * DEEP + " }}"), ("lists", "{{ " + "[" * DEEP + "]" * DEEP + " }}"),
                             ("blocks", "{% if 1 %}" * DEEP), ("signs", "{{ " + "not " * DEEP + "1 }}"), ("unterminated", "{{ 'a"), ("long", "x" * (5 << 20)),
                             ("no UTF-8", b"\xff"), ("long sum", "{{ " + "1+" * DEEP + "'a' }}"), ("filters", "{{ 1" + "|list" * DEEP + " }}"),
                             ("endless", "{% for a in range(10**9) %}{% for b in range(10**9) %}x{% endfor %}{% endfor %}"),
                             ("doubling", "{% set ns = namespace(x='xx') %}{% for i in range(200) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}"),
                             ("recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), ("power", "{{ 10 ** 10 ** 10 }}"), ("times", "{{ 'x' * 10 ** 12 }}")):
            with self.subTest(name):
                data = source if isinstance(source, bytes) else source.encode()
                server = self.serve(lambda path: (path / "chat_template.jinja").write_bytes(data))
                self.refused(server, chat=chat)

    def test_patterns(self):
        def pre_tokenizer(value):
            def change(path):
                file = path / "tokenizer.json"
                file.write_text(json.dumps({**json.loads(file.read_text()), **value}))
            return change

        server = self.serve(pre_tokenizer({"pre_tokenizer": split("(a+)+$")}))
        self.refused(server, text="a" * 5000 + "b")
        server = self.serve(pre_tokenizer({"normalizer": sequence("normalizers", [replace("q", "qq")] * 60)}))
        self.refused(server, text="q")
        server = self.serve(pre_tokenizer({"normalizer": replace("q", "q" * 10 ** 6)}))
        self.refused(server, text="q" * 1000)


class Paths(HostileTest):
    def test_paths(self):
        def made(make):
            def lie(folder):
                make(folder / "lie.gguf")
                return folder / "lie.gguf"
            return lie, ()

        self.all_refused({
            "a pipe": made(os.mkfifo), "an empty folder": made(os.mkdir), "a circle": made(lambda path: path.symlink_to(path.name)),
            "zeros": made(lambda path: path.symlink_to("/dev/zero")), "nothing": made(lambda path: None),
            "a dangling link": made(lambda path: path.symlink_to("nowhere")),
            "zeros of 64 GiB": made(lambda path: (path.touch(), os.truncate(path, 64 << 30))),
        })

    def test_unreadable(self):
        if os.geteuid() == 0:
            self.skipTest("root reads everything")

        def make(folder):
            path = folder / "lie.gguf"
            path.write_bytes(b"GGUF")
            path.chmod(0)
            return path
        self.all_refused({"no permission": (make, ())})

    def test_a_file_that_shrinks_while_it_is_loaded(self):
        """Wherever the cut falls, the gateway ends with a clear line or serves: nothing hangs, nothing crashes."""
        gguf = Gguf(models.GOLDEN / "gguf_f32" / "model.gguf")
        rows = 1 << 18  # 32 MiB each, so that loading takes a while
        for name in ("token_embd.weight", "output.weight"):
            gguf.tensor(name, dims=[32, rows], offset=len(gguf.body))
            gguf.body += bytes(32 * rows * 4)
        gguf.set("llama.vocab_size", 4, rows)
        whole = gguf.bytes()
        for delay in (0, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5):
            path = self.folder / "shrinks.gguf"
            path.write_bytes(whole)
            process = start(path, wait=False)
            time.sleep(delay)
            os.truncate(path, 4096)
            until(lambda: process.poll() is not None or b"ready" in self._peek(process), 60, "an end or readiness")
            process.terminate()
            code = process.wait(30)
            err = process.stderr.read().decode()
            process.stdout.close()
            process.stderr.close()
            self.assertIn(code, (0, 2), err)
            if code == 2:
                last = err.splitlines()[-1]
                self.assertTrue("shrinks.gguf" in last or "became shorter" in last, err)

    @staticmethod
    def _peek(process):
        os.set_blocking(process.stdout.fileno(), False)
        return process.stdout.peek(5)


if __name__ == "__main__":
    run()
