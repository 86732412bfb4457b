"""Start, one answer and stop under valgrind: no invalid access, no uninitialised value, nothing definitely lost."""

import os
import pathlib
import re
import shutil
import stat
import tempfile
import unittest

import harness
import models
from harness import Server, run

# A worker under valgrind is slower by a factor of twenty or more.
SLOW = ("--kv-cache-bytes=8388608", "--step-limit-seconds=300", "--load-limit-seconds=300")
WRONG = re.compile(r"^==\d+== (Invalid|Conditional jump|Use of uninit|Syscall param|Mismatched|Source and dest|"
                   r".*definitely lost: [1-9]|ERROR SUMMARY: [1-9])", re.MULTILINE)


class Valgrind(unittest.TestCase):
    def test_start_answer_stop(self):
        valgrind = shutil.which("valgrind")
        self.assertIsNotNone(valgrind, "valgrind is missing: run tools/deps packages")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            program = folder / "gateway"
            program.write_text(
                f'#!/bin/sh\nexec {valgrind} --trace-children=yes --leak-check=full --errors-for-leak-kinds=definite '
                f'--error-exitcode=99 --log-file={folder}/log.%p {harness.GATEWAY} "$@"\n')
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            harness.GATEWAY, harness.START_SECONDS = program, 600
            server = Server(models.copy_of("llama", folder / "tiny"), *SLOW)
            try:
                self.assertEqual(len(server.generate([1, 2, 3], max_new=3, top=2).tokens), 3)
                self.assertEqual(server.stop(), 0, server.log_tail)
            finally:
                server.process.kill()
            logs = [file.read_text(errors="replace") for file in folder.glob("log.*")]
        self.assertEqual(len(logs), 2)
        for log in logs:
            wrong = WRONG.search(log)
            self.assertIsNone(wrong, log[wrong.start():][:3000] if wrong else "")


if __name__ == "__main__":
    run()
