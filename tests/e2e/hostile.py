"""Model files with one lie each: a GGUF file taken apart so that any field can be written wrongly, and the run of a
gateway that must refuse it: one clear line, exit code 2, in bounded time and memory."""

import concurrent.futures
import copy
import os
import pathlib
import resource
import struct
import subprocess
import tempfile
import threading
import unittest

import models
from harness import GATEWAY

SECONDS = 60           # of one start; most take less than one
ADDRESS_SPACE = 8 << 30
RESIDENT = 1 << 30     # of the larger process; libtorch's pages alone are a fifth of it

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def text(value, length=None):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data) if length is None else length) + data


def encode(kind, value):
    """The bytes of a metadata value; `bytes` are written as they are, an array is (element type, values)."""
    if isinstance(value, bytes):
        return value
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        element, values = value
        return struct.pack("<IQ", element, len(values)) + b"".join(encode(element, item) for item in values)
    return struct.pack("<" + FORMATS[kind], value)


class Gguf:
    """A GGUF file's fields. A test changes one and writes the file back."""

    def __init__(self, path):
        self._data, self._at = pathlib.Path(path).read_bytes(), 0
        self.magic, (self.version, tensors, entries) = self._data[:4], struct.unpack_from("<IQQ", self._data, 4)
        self._at = 24
        self.tensor_count = self.metadata_count = None  # the true ones unless set
        self.metadata = {}                              # key -> [type, value]
        self.twice = []                                 # entries written once more
        for _ in range(entries):
            key = self._text()
            (kind,) = self._take("I")
            self.metadata[key] = [kind, self._value(kind)]
        self.tensors = []                               # dictionaries of name, dims, type, offset
        for _ in range(tensors):
            name = self._text()
            (rank,) = self._take("I")
            dims = list(self._take(f"{rank}Q"))
            kind, offset = self._take("IQ")
            self.tensors.append({"name": name, "rank": None, "dims": dims, "type": kind, "offset": offset})
        self.body = self._data[(self._at + 31) // 32 * 32:]

    def _take(self, form):
        values = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return values

    def _text(self):
        (size,) = self._take("Q")
        self._at += size
        return self._data[self._at - size:self._at].decode()

    def _value(self, kind):
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            element, size = self._take("IQ")
            return (element, [self._value(element) for _ in range(size)])
        return self._take(FORMATS[kind])[0]

    def with_vocabulary(self):
        """A byte-level vocabulary of as many tokens as the embedding has rows."""
        rows = next(tensor for tensor in self.tensors if tensor["name"] == "token_embd.weight")["dims"][1]
        letters = [letter for _, letter in sorted(models.byte_letters().items())][32:]
        words = [merge.replace(" ", "") for merge in models.MERGES] + models.SPECIALS
        tokens = letters[:rows - len(words)] + words
        kinds = [1] * (rows - len(models.SPECIALS)) + [3] * len(models.SPECIALS)
        self.metadata.update({
            "tokenizer.ggml.model": [STRING, "gpt2"], "tokenizer.ggml.pre": [STRING, "gpt-2"],
            "tokenizer.ggml.tokens": [ARRAY, (STRING, tokens)], "tokenizer.ggml.token_type": [ARRAY, (I32, kinds)],
            "tokenizer.ggml.merges": [ARRAY, (STRING, models.MERGES)],
            "tokenizer.ggml.bos_token_id": [U32, rows - 4], "tokenizer.ggml.eos_token_id": [U32, rows - 3]})
        return self

    def copy(self):
        return copy.deepcopy(self)

    def set(self, key, kind, value):
        self.metadata[key] = [kind, value]
        return self

    def tensor(self, which, **fields):
        next(tensor for tensor in self.tensors if tensor["name"] == which).update(fields)
        return self

    def header(self):
        entries = list(self.metadata.items()) + self.twice
        out = self.magic + struct.pack("<IQQ", self.version,
                                       len(self.tensors) if self.tensor_count is None else self.tensor_count,
                                       len(entries) if self.metadata_count is None else self.metadata_count)
        for key, (kind, value) in entries:
            out += text(key) + struct.pack("<I", kind) + encode(kind, value)
        for tensor in self.tensors:
            rank = len(tensor["dims"]) if tensor["rank"] is None else tensor["rank"]
            out += text(tensor["name"]) + struct.pack(f"<I{len(tensor['dims'])}QIQ", rank, *tensor["dims"],
                                                      tensor["type"], tensor["offset"])
        return out

    def bytes(self):
        out = self.header()
        return out + bytes(-len(out) % 32) + self.body


def start(model, *flags, wait=True):
    """Starts a gateway on the model with bounded memory: (exit code, standard output, standard error, peak bytes of
    the larger of its processes). Without `wait`: the process."""
    process = subprocess.Popen(
        [GATEWAY, f"--model={model}", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--threads=1",
         "--max-sequences=4", "--kv-cache-bytes=16777216", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE)))
    if not wait:
        return process
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    # A gateway that is ready would wait for requests: it gets the signal to end instead.
    errors = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    out = process.stdout.readline()
    if out:
        process.terminate()
    reader.join()
    (err,) = errors
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    watchdog.cancel()
    process.stdout.close()
    process.stderr.close()
    return process.returncode, out.decode(), err.decode(errors="replace"), usage.ru_maxrss * 1024


class HostileTest(unittest.TestCase):
    """Runs many cases, as many at once as there are processors."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def all_refused(self, cases):
        """cases: name -> (make(folder) -> the model's path, words that the line must have)."""
        self._all(cases, self._refused)

    def all_served(self, cases):
        """The same for files that are odd but served; the words are those of a warning, where there are any."""
        self._all(cases, self._served)

    def _all(self, cases, check):
        def one(name):
            folder = self.folder / f"{len(name)}-{abs(hash(name))}"
            folder.mkdir()
            make, words = cases[name]
            path = make(folder)
            return check(path, words if isinstance(words, tuple) else (words,), start(path))

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            wrong = {name: what for name, what in zip(cases, pool.map(one, cases)) if what}
        self.assertFalse(wrong, "\n" + "\n".join(f"{name}: {what}" for name, what in wrong.items()))

    @staticmethod
    def _refused(path, words, result):
        code, out, err, peak = result
        lines = err.splitlines()
        if code != 2 or out or len(lines) != 1:
            return f"exit code {code}, standard output {out!r}, standard error {err[-600:]!r}"
        missing = [word for word in (pathlib.Path(path).name, *words) if word not in lines[0]]
        if missing:
            return f"{lines[0]!r} lacks {missing}"
        if len(lines[0]) > 4000:
            return f"a line of {len(lines[0])} bytes"
        return f"took {peak >> 20} MiB" if peak > RESIDENT else ""

    @staticmethod
    def _served(_, words, result):
        code, out, err, peak = result
        if code != 0 or not out.startswith("ready "):
            return f"exit code {code}, standard output {out!r}, standard error {err[-600:]!r}"
        missing = [word for word in words if word not in err]
        if missing:
            return f"{err!r} lacks {missing}"
        return f"took {peak >> 20} MiB" if peak > RESIDENT else ""
