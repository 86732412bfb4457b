"""What operators ask: health, reflection, models, load, metrics; Abort."""

import grpc

import models
from harness import Reading, ServerTest, control_pb, gather, health_pb, pb, reflection_pb, request, run, until

SERVING = health_pb.HealthCheckResponse.SERVING
ENDLESS = pb.StoppingParams(ignore_eos=True)


class Control(ServerTest):
    FLAGS = ("--model-name=tiny-model", "--kv-cache-bytes=536870912")

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000, eos_token_id=[3, 4])

    def test_health(self):
        for service in ("", "shardline.live", "shardline.ready"):
            self.assertEqual(self.server.health(service), SERVING, service)
        self.refused(grpc.StatusCode.NOT_FOUND, lambda: self.server.health("nobody"))

    def test_reflection(self):
        def ask(**fields):
            question = reflection_pb.ServerReflectionRequest(**fields)
            return next(iter(self.server.reflection.ServerReflectionInfo(iter([question]), timeout=30)))

        names = {service.name for service in ask(list_services="").list_services_response.service}
        self.assertLessEqual({"shardline.v1.Inference", "shardline.v1.Control", "grpc.health.v1.Health"}, names)
        files = ask(file_containing_symbol="shardline.v1.Inference").file_descriptor_response.file_descriptor_proto
        self.assertIn(pb.DESCRIPTOR.serialized_pb, files)

    def test_server_info(self):
        info = self.server.control.GetServerInfo(control_pb.GetServerInfoRequest(), timeout=30)
        self.assertTrue(info.version and info.build.commit and info.build.grpc_version)
        self.assertIn(info.build.instruction_set, ("scalar", "avx2", "avx512", "avx512_bf16"))
        self.assertEqual(info.limits.max_sequences, 256)

    def test_models(self):
        listed = self.server.control.ListModels(control_pb.ListModelsRequest(), timeout=30).models
        self.assertEqual([model.name for model in listed], ["tiny-model"])
        for name in ("", "tiny-model"):
            model = self.server.control.GetModel(control_pb.GetModelRequest(model=name), timeout=30)
            self.assertEqual(model, listed[0])
        self.assertEqual((model.family, model.dtype, model.vocabulary_size), ("llama", "f32", 128))
        self.assertEqual((model.context_tokens, sorted(model.eos_token_ids)), (60000, [3, 4]))
        self.assertTrue(model.ready and model.batch_invariant)
        self.assertFalse(model.has_tokenizer or model.has_chat_template)
        self.assertEqual(list(model.capabilities), ["generate", "logprobs", "prompt_logprobs"])
        self.refused(grpc.StatusCode.NOT_FOUND,
                     lambda: self.server.control.GetModel(control_pb.GetModelRequest(model="x"), timeout=30))

    def test_load_and_abort_by_name(self):
        call = self.server.stream(request([1, 2], request_id="long", stopping=ENDLESS))
        events = [next(call), next(call)]
        load = until(lambda: self.server.load() if self.server.load().groups[0].kv_blocks_used else None)
        self.assertEqual((load.running_requests, load.queued_requests), (1, 0))
        self.assertEqual(load.groups[0].running_sequences, 1)
        self.assertTrue(load.groups[0].ready)
        self.assertGreaterEqual(load.groups[0].worker_epoch, 1)
        self.refused(grpc.StatusCode.ALREADY_EXISTS, lambda: self.server.stream(request([1], request_id="long")))
        self.assertEqual(self.server.abort(request_id="long"), 1)
        answer = gather(events + list(call))
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_ABORTED)
        self.server.settle()
        load = self.server.load()
        self.assertEqual((load.running_requests, load.groups[0].kv_blocks_used), (0, 0))
        # The name is free again.
        self.assertIsNone(self.server.generate([1], max_new=1, request_id="long").error)

    def test_abort_all(self):
        readings = [Reading(self.server.stream(request([i], stopping=ENDLESS))) for i in range(6)]
        until(lambda: self.server.load().running_requests + self.server.load().queued_requests == 6)
        self.assertEqual(self.server.abort(all=True), 6)
        reasons = {gather(reading.join().events).finished.reason for reading in readings}
        self.assertEqual(reasons, {pb.FINISH_REASON_ABORTED})

    def test_metrics_count(self):
        before = self.server.settle()
        self.server.generate([5, 6, 7], max_new=4)
        after = self.server.settle()

        def grown(name):
            return after[f"shardline_{name}"] - before.get(f"shardline_{name}", 0)

        self.assertEqual(grown("requests_accepted_total"), 1)
        self.assertEqual(grown("prompt_tokens_total"), 3)
        self.assertLessEqual(grown("output_tokens_total"), 4)
        self.assertEqual(grown("time_to_first_token_seconds_count"), 1)
        self.assertEqual(grown("request_seconds_count"), 1)
        self.assertEqual(grown("queue_seconds_count"), 1)
        self.assertGreaterEqual(grown("step_seconds_count"), 1)
        self.assertGreater(after["shardline_kv_blocks_total"], 0)
        self.assertEqual(after["shardline_worker_restarts_total"], 0)


if __name__ == "__main__":
    run()
