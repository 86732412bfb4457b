"""--trace-file: one file of both processes' events on one line of time."""

import json
import pathlib
import tempfile
import unittest

import models
from harness import Server, gather, pb, request, run

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class TraceFile(unittest.TestCase):
    def test_requests_and_steps(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "trace.json"
            server = Server(models.copy_of("llama", pathlib.Path(folder) / "tiny"), f"--trace-file={file}")
            try:
                worker = server.worker_pid()
                call = server.inference.Generate(
                    request([1, 2, 3], max_new=5, request_id="traced", stopping=pb.StoppingParams(ignore_eos=True)),
                    timeout=30, metadata=[("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01")])
                answer = gather(call)
                server.generate([4, 5], max_new=2, request_id="not traced before")
            finally:
                self.assertEqual(server.stop(), 0)
            events = json.loads(file.read_text())

        names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
        self.assertEqual(names, {server.process.pid: "shardline-gateway", worker: "shardline-worker"})
        begin = {event["args"]["request_id"]: event for event in events
                 if event["name"] == "request" and event["ph"] == "b"}
        self.assertEqual(set(begin), {"traced", "not traced before"})
        traced = begin["traced"]
        self.assertEqual((traced["args"]["trace_id"], traced["args"]["parent_id"]), (TRACE_ID, PARENT_ID))
        self.assertNotIn("trace_id", begin["not traced before"]["args"])
        self.assertEqual(traced["args"]["outcome"], "length")
        self.assertEqual(traced["args"]["output_tokens"], len(answer.tokens))
        key = traced["args"]["key"]
        end = next(event for event in events
                   if event["name"] == "request" and event["ph"] == "e" and event["id"] == key)
        for name in ("queue", "first token", "decode"):
            self.assertEqual(sorted(event["ph"] for event in events if event["name"] == name and event.get("id") == key),
                             ["b", "e"])
        steps = [event for event in events if event["name"] == "step" and key in event["args"]["keys"]]
        self.assertEqual(len(steps), 5)
        self.assertEqual(sum(step["args"]["prompt_tokens"] for step in steps), 3)
        for step in steps:  # the worker's times within the gateway's
            self.assertEqual(step["pid"], worker)
            self.assertGreaterEqual(step["ts"], traced["ts"])
            self.assertLessEqual(step["ts"], end["ts"])
            inside = [event["name"] for event in events if event["ph"] == "X" and event["pid"] == worker and
                      event is not step and step["ts"] <= event["ts"] and
                      event["ts"] + event["dur"] <= step["ts"] + step["dur"] + 0.002]
            self.assertEqual(sorted(inside), ["forward", "logits", "plan", "sample"])

    def test_a_file_that_cannot_be_written(self):
        from faults_test import failing
        line = failing([f"--model={models.GOLDEN / 'llama'}", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0",
                        "--trace-file=/nonexistent/trace.json"])
        self.assertIn("--trace-file", line)


if __name__ == "__main__":
    run()
