"""Every field of every request, on both sides of each of its bounds: its effect shows, or it is refused by name."""

import pathlib
import re

import grpc

import models
from fields import BOS, EOS, RPCS, UNKNOWN, Bad, Differs, Elsewhere, Good, Same, chat
from harness import ServerTest, control_pb, details, pb, rpc_pb, run


def paths(message, prefix=""):
    """Every field that holds a value, by its path."""
    for field in message.fields:
        path = prefix + field.name
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.message_type is None or is_map:
            yield path
        else:
            if field.is_repeated:
                yield path
            yield from paths(field.message_type, path + ".")


def methods():
    for file, stub in ((pb, "inference"), (control_pb, "control")):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield method, stub


class Fields(ServerTest):
    @classmethod
    def make_model(cls, folder):
        return models.with_tokenizer(folder, adds_bos=True, eos_token_id=EOS)

    def setUp(self):
        self.server.generate([1, 2, 3], max_new=3, request_id="ended")  # for Attach

    def made(self, method, fields):
        made = getattr(pb, method.input_type.name, None) or getattr(control_pb, method.input_type.name)
        made = made(**fields)
        if method.name == "Generate":
            if made.WhichOneof("prompt") is None:
                made.token_ids.ids.extend([1, 2, 3])
            if not made.HasField("sampling"):
                made.sampling.temperature = 0
            if not made.HasField("stopping"):
                made.stopping.max_new_tokens = 3
        return made

    def call(self, method, stub, fields):
        if method.name == "Generate":
            made = self.made(method, fields)
            answer, = self.server.generate_all([made])
            return answer
        answer = getattr(getattr(self.server, stub), method.name)(self.made(method, fields), timeout=30)
        return list(answer) if hasattr(answer, "__iter__") else answer

    def check(self, method, stub, row):
        if isinstance(row, Good):
            self.assertTrue(row.effect(self.call(method, stub, row.fields)))
        elif isinstance(row, (Differs, Same)):
            left, right = (self.call(method, stub, fields).ids for fields in (row.fields, row.others))
            (self.assertEqual if isinstance(row, Same) else self.assertNotEqual)(left, right)
        elif isinstance(row, Bad):
            error = self.refused(row.code, lambda: self.call(method, stub, row.fields))
            self.assertTrue(error.details().startswith(row.path), f"{error.details()}, not {row.path}")
            if row.code == grpc.StatusCode.INVALID_ARGUMENT:
                named = details(error, rpc_pb.BadRequest).field_violations[0].field
                self.assertTrue(error.details().startswith(named + ":"), named)

    def test_every_field_of_every_request_has_rows(self):
        self.assertEqual({method.name for method, _ in methods()}, set(RPCS))
        for method, _ in methods():
            self.assertEqual(set(paths(method.input_type)), set(RPCS[method.name]), method.name)

    def test_every_row(self):
        for method, stub in methods():
            for field, rows in RPCS[method.name].items():
                for i, row in enumerate(rows):
                    with self.subTest(method=method.name, field=field, row=i, fields=str(vars(row))[:200]):
                        self.check(method, stub, row)

    def test_files_that_rows_point_to(self):
        for rows in (rows for fields in RPCS.values() for rows in fields.values()):
            for row in rows:
                if isinstance(row, Elsewhere):
                    self.assertTrue((pathlib.Path(__file__).parent / row.file).exists(), row.file)

    def test_no_request_may_hold_unknown_fields(self):
        for method, stub in methods():
            with self.subTest(method=method.name):
                kind = self.server.channel.unary_stream if method.name in ("Generate", "Attach", "Drain") else \
                    self.server.channel.unary_unary
                call = kind(f"/{method.containing_service.full_name}/{method.name}")
                error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(UNKNOWN, timeout=30))
                self.assertTrue(error.details().startswith("1023:"), error.details())

    def test_bytes_that_are_no_request(self):
        for method, _ in methods():
            kind = self.server.channel.unary_stream if method.name in ("Generate", "Attach", "Drain") else \
                self.server.channel.unary_unary
            call = kind(f"/{method.containing_service.full_name}/{method.name}")
            for data in (b"\xff", b"\x1a\x50cut", b"\x0a\x02\xc3\x28"):  # a string that is no UTF-8
                if data[0] == 0x0a and (not method.input_type.fields or method.input_type.fields[0].name in
                                        ("messages", "deadline_seconds")):
                    continue
                with self.subTest(method=method.name, data=data):
                    error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(data, timeout=30))
                    self.assertTrue(error.details().startswith("request:"), error.details())
                    self.assertEqual(details(error, rpc_pb.BadRequest).field_violations[0].field, "request")

    def test_unknown_fields_within_are_named_by_their_path(self):
        within = bytes([0x32, len(UNKNOWN)]) + UNKNOWN  # sampling { 1023 }
        call = self.server.channel.unary_stream("/shardline.v1.Inference/Generate")
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(within, timeout=30))
        self.assertTrue(error.details().startswith("sampling.1023:"), error.details())

    def test_no_prompt_names_what_may_be_set(self):
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.stream(pb.GenerateRequest()))
        for field in ("prompt", "text", "token_ids", "chat"):
            self.assertIn(field, error.details())

    def told_limits(self):
        info = self.server.control.GetServerInfo(control_pb.GetServerInfoRequest(), timeout=30)
        return info.limits

    def with_value(self, path, value):
        """A valid request but for `value` at `path`, which may lead through a map or a list."""
        made = pb.GenerateRequest()
        message = made
        *within, name = path.split(".")
        for part in within:
            message = getattr(message, part)
            message = message.add() if hasattr(message, "add") else message
        field = message.DESCRIPTOR.fields_by_name[name]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, name).update(value if isinstance(value, dict) else {1: value})
        elif field.is_repeated:
            entries = value if isinstance(value, list) else [value]
            getattr(message, name).extend(
                [pb.ChatMessage(role=entry) for entry in entries] if name == "messages" else entries)
        else:
            setattr(message, name, value)
        return self.made(next(method for method, _ in methods() if method.name == "Generate"),
                         {field.name: value for field, value in made.ListFields()})

    def out_of_range(self, path, value):
        """Whether the bounds of the field's own refuse the value; a model's may as well."""
        call = self.server.stream(self.with_value(path, value))
        try:
            next(iter(call))
            call.cancel()
            return False
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
            return bool(re.match(rf"{re.escape(path)}(\[\d+\])?: .*(out of range|entries|bytes|at least)",
                                 error.details()))

    def test_told_ranges_are_enforced(self):
        for limit in self.told_limits().parameters:
            with self.subTest(field=limit.field):
                whole = limit.field.split(".")[-1] in ("top_k", "repeat_last_n", "max_new_tokens", "min_new_tokens", "top",
                                                       "n", "truncate_prompt_tokens", "priority")
                step = 1 if whole else 0.01
                number = int if whole else float
                if limit.HasField("min"):
                    self.assertEqual(self.out_of_range(limit.field, number(limit.min)), limit.min_exclusive)
                    if not (whole and limit.min in (0, -2 ** 31)):
                        self.assertTrue(self.out_of_range(limit.field, number(limit.min - step)))
                if limit.HasField("max"):
                    self.assertFalse(self.out_of_range(limit.field, number(limit.max)))
                    if limit.field not in ("priority", "sampling.repeat_last_n"):  # all that an int32 holds
                        beyond = limit.max + 1 if whole else limit.max * 1.001 + 1e-3
                        self.assertTrue(self.out_of_range(limit.field, number(beyond)))

    def test_told_sizes_are_enforced(self):
        def entries(path, count):
            if path == "sampling.logit_bias":
                return {i: 1 for i in range(count)}
            return ["x"] * count if path.endswith(("strings", "messages")) else [1] * count

        for limit in self.told_limits().parameters:
            with self.subTest(field=limit.field):
                for most in map(int, re.findall(r"at most (\d+) entries", limit.note)):
                    self.assertFalse(self.out_of_range(limit.field, entries(limit.field, most)))
                    self.assertTrue(self.out_of_range(limit.field, entries(limit.field, most + 1)))
                for least, most in re.findall(r"(\d+) to (\d+) bytes", limit.note):
                    self.assertFalse(self.out_of_range(limit.field, "x" * int(most)))
                    if int(least) > 0:
                        self.assertTrue(self.out_of_range(limit.field, "x" * (int(least) - 1)))

    def test_every_parameter_is_told(self):
        told = {limit.field: limit.served for limit in self.told_limits().parameters}
        self.assertEqual(set(told), set(paths(pb.GenerateRequest.DESCRIPTOR)))
        self.assertEqual([field for field, served in told.items() if not served], ["cache_salt"])

    def test_receive_limit(self):
        limit = self.told_limits().max_receive_bytes
        self.assertEqual(limit, 64 << 20)
        large = self.server.inference.Tokenize(pb.TokenizeRequest(text="x" * 300000), timeout=60)
        self.assertEqual(len(large.token_ids), 300001)
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: self.server.inference.Detokenize(
            pb.DetokenizeRequest(token_ids=[1] * (limit + 1)), timeout=60))


    def test_refused_requests_are_counted(self):
        key = 'shardline_requests_total{outcome="rejected"}'
        before = self.server.metrics().get(key, 0)
        for code, fields in ((grpc.StatusCode.INVALID_ARGUMENT, {"n": 0}), (grpc.StatusCode.NOT_FOUND, {"model": "x"})):
            self.refused(code, lambda: self.server.stream(pb.GenerateRequest(text="x", **fields)))
        self.assertEqual(self.server.metrics()[key], before + 2)


class IdsAlone(ServerTest):
    """A model without tokenizer: what needs text is refused by name."""

    def test_fields_that_need_text(self):
        for path, fields in (("text", {"text": "x"}), ("chat", {"chat": chat("x")}),
                             ("stopping.stop_strings", {"token_ids": {"ids": [1]}, "stopping": {"stop_strings": ["x"]}})):
            error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.stream(pb.GenerateRequest(**fields)))
            self.assertTrue(error.details().startswith(path + ":"), error.details())
            self.assertEqual(details(error, rpc_pb.BadRequest).field_violations[0].field, path)

    def test_calls_that_need_text(self):
        calls = self.server.inference
        for path, call in (("text", lambda: calls.Tokenize(pb.TokenizeRequest(text="x"), timeout=30)),
                           ("chat", lambda: calls.RenderChat(pb.RenderChatRequest(chat=chat("x")), timeout=30)),
                           ("model", lambda: calls.Detokenize(pb.DetokenizeRequest(token_ids=[1]), timeout=30))):
            error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, call)
            self.assertTrue(error.details().startswith(path + ":"), error.details())


class RequestTemplates(ServerTest):
    FLAGS = ("--allow-request-templates",)

    @classmethod
    def make_model(cls, folder):
        return models.with_tokenizer(folder, eos_token_id=EOS)

    def render(self, template, **fields):
        return self.server.inference.RenderChat(
            pb.RenderChatRequest(chat=chat("hi", chat_template=template, **fields)), timeout=30)

    def test_a_requests_own_template(self):
        answer = self.render("{{ messages[0].content }}{{ bos_token }}{{ x }}", template_arguments_json='{"x": 7}')
        self.assertEqual((answer.text, list(answer.token_ids)), ("hi<s>7", [*b"hi", BOS, ord("7")]))

    def test_broken_and_endless_templates(self):
        for template in ("{{", "{% for %}", "{{ raise_exception('no\nsuch') }}",
                         "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"):
            with self.subTest(template=template):
                error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.render(template))
                self.assertTrue(error.details().startswith("chat"), error.details())


if __name__ == "__main__":
    run()
