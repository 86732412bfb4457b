"""tools/new_model in a copy of the sources: what it writes compiles, passes its own test and stands in every list.

    new_model_test.py BUILD_FOLDER
"""

import ast
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(sys.argv.pop()).resolve()


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def names_of(file, variable):
    """The strings in the value that a Python file gives to a variable."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == variable for name in node.targets):
            return [part.value for part in ast.walk(node.value)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    raise AssertionError(f"{file} has no {variable}")


class NewModel(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name).resolve() / "copy"
        for part in ("kernels", "shared", "tests", "tools", "worker"):
            shutil.copytree(ROOT / part, self.root / part, ignore=shutil.ignore_patterns("golden", "__pycache__"))
        self.commands = {entry["file"]: entry for entry in json.loads((BUILD / "compile_commands.json").read_text())}

    def new_model(self, *arguments):
        return run(sys.executable, str(self.root / "tools" / "new_model"), *arguments)

    def compile(self, file, like):
        """As `like` is in the build, with the copy's headers; returns the object."""
        entry = self.commands[str(ROOT / like)]
        arguments = shlex.split(entry["command"])
        output = self.root / (pathlib.Path(file).name + ".o")
        arguments[arguments.index("-o") + 1] = str(output)
        arguments = [argument.replace(f"-I{ROOT}", f"-I{self.root}", 1) if argument == f"-I{ROOT}" else argument
                     for argument in arguments]
        arguments[arguments.index("-c") + 1] = str(self.root / file)
        run(*arguments, cwd=entry["directory"])
        return str(output)

    def link(self, *objects):
        """models_test as the build links it, of these objects and the build's libraries."""
        command = run("ninja", "-C", str(BUILD), "-t", "commands", "models_test").splitlines()[-1]
        words = shlex.split(command.split("&&")[1])
        words = [word for word in words if not word.endswith(".cc.o")]
        program = self.root / "new_test"
        words[words.index("-o") + 1] = str(program)
        words[words.index("-o"):words.index("-o")] = objects
        run(*words, cwd=BUILD)
        return str(program)

    def test_what_it_writes_compiles_and_passes(self):
        said = self.new_model("sea_horse", "--gguf", "seahorse", "--architecture", "SeaHorseLMHeadModel")
        self.assertIn("sea_horse gguf_of_sea_horse gguf_mixed_sea_horse", said)
        program = self.link(self.compile("tests/worker/models/sea_horse_test.cc", "tests/worker/models/mamba_test.cc"),
                            self.compile("worker/models/sea_horse.cc", "worker/models/llama.cc"),
                            self.compile("worker/models/registry.cc", "worker/models/registry.cc"))
        self.assertIn("[  PASSED  ] 2 tests.", run(program))

    def test_without_gguf_it_compiles_too(self):
        self.new_model("plain")
        self.compile("worker/models/plain.cc", "worker/models/llama.cc")
        self.assertIn('"PlainForCausalLM"', (self.root / "worker/models/plain.cc").read_text())

    def test_it_stands_in_every_list(self):
        self.new_model("sea_horse", "--gguf", "seahorse")
        for folder, source in (("worker", "sea_horse.cc"), ("tests/worker", "sea_horse_test.cc")):
            lines = (self.root / folder / "models" / "CMakeLists.txt").read_text().splitlines()
            self.assertEqual(lines.count(f"    {source}"), 1)
            at = lines.index(f"    {source}")
            self.assertLess(lines[at - 1], lines[at])
        golden = self.root / "tools/make_golden.py"
        for variable in ("CHECKPOINTS", "MIXED_GGUFS", "GGUF_COPIES"):
            self.assertIn("sea_horse", names_of(golden, variable), variable)
        self.assertIn("seahorse", names_of(golden, "GGUF_ARCHITECTURES"))
        self.assertIn("sea_horse", names_of(self.root / "tests/e2e/families_test.py", "CHECKPOINTS"))

    def test_it_overwrites_nothing(self):
        for arguments in (("llama",), ("Llama",), ("a__b",), ("new", "--gguf", 'a"b')):
            before = {file: file.read_bytes() for file in self.root.rglob("*.*") if file.is_file()}
            done = subprocess.run([sys.executable, str(self.root / "tools/new_model"), *arguments], capture_output=True,
                                  text=True, timeout=60)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertEqual(before, {file: file.read_bytes() for file in self.root.rglob("*.*") if file.is_file()})


if __name__ == "__main__":
    unittest.main()
