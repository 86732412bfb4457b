"""README.md shows what `shardline plan` prints, to the byte."""

import os
import pathlib
import re
import shlex
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SHARDLINE_BUILD", ROOT / "build" / "release"))
SECONDS = 120


class Readme(unittest.TestCase):
    def test_blocks_are_the_commands_output(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```console\n\$ shardline (plan .*)\n((?:.*\n)*?)```$", readme, re.MULTILINE)
        self.assertEqual(len(blocks), 2)
        for arguments, shown in blocks:
            with self.subTest(arguments):
                done = subprocess.run([BUILD / "bin" / "shardline", *shlex.split(arguments)], cwd=ROOT, capture_output=True,
                                      text=True, timeout=SECONDS, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(done.stdout, shown)


if __name__ == "__main__":
    unittest.main(verbosity=2)
