"""Python classes of the public contract, generated once per version of the .proto files."""

import fcntl
import hashlib
import importlib
import pathlib
import sys

import grpc_tools
from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def generate(folder):
    """Generates into `folder` unless that has been done, and makes the modules importable."""
    sources = {ROOT / "proto": sorted((ROOT / "proto").rglob("*.proto")),
               HERE / "protos": sorted((HERE / "protos").glob("*.proto"))}
    digest = hashlib.sha256()
    for files in sources.values():
        for file in files:
            digest.update(file.read_bytes())
    folder = folder / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:  # test files run at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
            for root, files in sources.items():
                code = protoc.main(["protoc", f"-I{root}", f"-I{well_known}", f"--python_out={folder}",
                                    f"--grpc_python_out={folder}", *map(str, files)])
                if code != 0:
                    raise RuntimeError(f"protoc ended with {code}")
            (folder / "done").touch()
    sys.path.insert(0, str(folder))
    return {name: importlib.import_module(name) for name in (
        "shardline.v1.inference_pb2", "shardline.v1.inference_pb2_grpc", "shardline.v1.control_pb2",
        "shardline.v1.control_pb2_grpc", "health_pb2", "health_pb2_grpc", "reflection_pb2", "reflection_pb2_grpc",
        "status_details_pb2")}
