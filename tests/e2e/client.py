"""A client in a process of its own, to be stopped and killed: sends one Generate, then reads it as fast as events come.

client.py ADDRESS REQUEST_HEX: prints `begun` behind the first event and, at the end, how the stream ended.
"""

import sys

import grpc

from harness import SMALL_WINDOW, pb, stub_of

made = pb.GenerateRequest.FromString(bytes.fromhex(sys.argv[2]))
channel = grpc.insecure_channel(sys.argv[1], options=SMALL_WINDOW)
last = None
try:
    for event in stub_of(channel).Generate(made):
        if last is None:
            print("begun", flush=True)
        last = event
    print(pb.ErrorCode.Name(last.error.code) if last.HasField("error") else last.WhichOneof("event"), flush=True)
except grpc.RpcError as error:
    print(error.code().name, flush=True)
