"""Every field of every request, on both sides of each of its bounds: its effect shows, or it is refused by name."""

import math
import pathlib
import re

import grpc

import models
from harness import ServerTest, control_pb, details, pb, rpc_pb, run

BYTES = 256
BOS, EOS, USER, END = range(BYTES + len(models.MERGES), BYTES + len(models.MERGES) + 4)
THE = BYTES + models.MERGES.index("th e")
VOCABULARY = END + 1
CONTEXT = 128
NOT_FINITE = (math.nan, math.inf, -math.inf)
UNKNOWN = bytes([0xF8, 0x3F, 0x01])  # field 1023 = 1


def chat(*contents, role="user", **fields):
    return {"messages": [{"role": role, "content": content} for content in contents], **fields}


class Bad:
    """A request that is refused; the error names `path`."""
    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, path, **fields):
        self.path, self.fields = path, fields


class Missing(Bad):
    code = grpc.StatusCode.NOT_FOUND


class OutOfRange(Bad):
    code = grpc.StatusCode.OUT_OF_RANGE


class Good:
    """A request that is served; `effect(answer)` is true."""

    def __init__(self, effect, **fields):
        self.effect, self.fields = effect, fields


class Elsewhere:
    """The effect of values within the range is shown by another test file."""

    def __init__(self, file):
        self.file = file


class Differs:
    """Two requests with different answers."""

    def __init__(self, fields, others):
        self.fields, self.others = fields, others


class Same:
    """Two requests with the same answer."""

    def __init__(self, fields, others):
        self.fields, self.others = fields, others


def sampled(seed=1, tokens=24, **sampling):
    return {"sampling": {"seed": seed, **sampling}, "stopping": {"max_new_tokens": tokens, "ignore_eos": True}}


def greedy(tokens=24, **sampling):
    return sampled(tokens=tokens, temperature=0, **sampling)


def numbers(path, valid, invalid):
    """Rows of a number in `sampling`: all of `valid` are served, none of `invalid` and nothing that is not finite."""
    name = path.split(".")[1]
    return [*(Good(lambda answer: len(answer.ids) == 2, **sampled(tokens=2, **{name: value})) for value in valid),
            *(Bad(path, sampling={name: value}) for value in (*invalid, *NOT_FINITE))]


def reason(name, **more):
    """An effect: the output ended so."""
    def effect(answer):
        return (answer.finished.reason == getattr(pb, f"FINISH_REASON_{name}") and
                all(getattr(answer.finished, key) == value for key, value in more.items()))
    return effect


def ids_bad(field, **others):
    """Refused prompts of ids."""
    return [Bad(f"{field}.ids[2]", **{field: {"ids": [1, 2, VOCABULARY, 2 ** 32 - 1]}}, **others),
            Bad(field, **{field: {"ids": []}}, **others), Bad(field, **{field: {"ids": [1] * (CONTEXT + 1)}}, **others)]


def prompt_is(*ids):
    return lambda answer: [token.id for token in answer.prompt] == list(ids)


def text_is(text):
    return lambda answer: answer.text == text


HI = [BOS, USER, *b"hi", END, *b"bot:"]  # chat("hi")
CHAT_FIELDS = {
    "chat.messages": [Bad("chat.messages", chat={}), Bad("chat.messages", chat=chat(*["x"] * 65537))],
    "chat.messages.role": [Bad("chat.messages[1].role", chat={"messages": [{}, {"role": "r" * 257}]})],
    "chat.messages.content": [],
    "chat.messages.extra_json": [
        Bad("chat.messages[0].extra_json", chat={"messages": [{"role": "user", "extra_json": broken}]})
        for broken in ("", "{", "[1]", '"x"', "{}{}", '{"role": "x"}', "{'a': 1}", '{"a": NaN}')] + [
        Bad("chat.messages[0].extra_json",
            chat={"messages": [{"role": "user", "content": "a", "extra_json": '{"content": "b"}'}]})],
    "chat.chat_template": [Bad("chat.chat_template", chat=chat("x", chat_template="{{ 1 }}"))],
    "chat.add_generation_prompt": [],
    "chat.template_arguments_json": [
        Bad("chat.template_arguments_json", chat=chat("x", template_arguments_json=broken))
        for broken in ("", "{", "[1]", "7", "null", '{"messages": []}', '{"add_generation_prompt": true}')],
}

GENERATE = {
    "request_id": [Good(lambda answer: answer.accepted.request_id == "r" * 256, request_id="r" * 256),
                   Good(lambda answer: re.fullmatch("[0-9a-f]{32}", answer.accepted.request_id), request_id=""),
                   Bad("request_id", request_id="r" * 257)],
    "model": [Good(lambda answer: answer.accepted.model == "tiny", model="tiny"),
              Good(lambda answer: answer.accepted.model == "tiny", model=""),
              Missing("model", model="another"), Missing("model", model="x" * 100000),
              Missing("model", model="line\nbreak"), Missing("model", model="x" + "é" * 300)],
    "text": [Good(prompt_is(BOS, THE, *b" x"), text="the x", echo=True),
             Good(prompt_is(BOS), text="", echo=True),
             Bad("text", text="", add_special_tokens=False), Bad("text", text="x" * CONTEXT),
             Bad("text", text="x" * 10 ** 6)],
    "token_ids.ids": [Good(prompt_is(VOCABULARY - 1, 0), token_ids={"ids": [VOCABULARY - 1, 0]}, echo=True),
                      Good(reason("LENGTH"), token_ids={"ids": [1] * CONTEXT}, stopping={"max_new_tokens": 0}),
                      *ids_bad("token_ids")],
    **CHAT_FIELDS,
    "chat.messages": CHAT_FIELDS["chat.messages"] + [
        Good(prompt_is(*HI), chat=chat("hi"), echo=True), Bad("chat", chat=chat(*["x"] * CONTEXT))],
    "chat.messages.role": CHAT_FIELDS["chat.messages.role"] + [
        Good(prompt_is(BOS, *b"me:hi", END, *b"bot:"), chat=chat("hi", role="me"), echo=True)],
    "chat.messages.content": [
        Good(prompt_is(BOS, USER, END, *b"bot:"), chat=chat(""), echo=True),
        Good(prompt_is(BOS, USER, *b"None", END, *b"bot:"), chat={"messages": [{"role": "user"}]}, echo=True)],
    "chat.messages.extra_json": CHAT_FIELDS["chat.messages.extra_json"] + [
        Good(prompt_is(*HI), chat={"messages": [{"role": "user", "extra_json": '{"content": "hi", "k": [1]}'}]},
             echo=True)],
    "chat.add_generation_prompt": [
        Good(prompt_is(*HI[:-4]), chat=chat("hi", add_generation_prompt=False), echo=True),
        Good(prompt_is(*HI), chat=chat("hi", add_generation_prompt=True), echo=True)],
    "chat.template_arguments_json": CHAT_FIELDS["chat.template_arguments_json"] + [
        Good(prompt_is(ord("B"), *HI[1:]), chat=chat("hi", template_arguments_json='{"bos_token": "B"}'), echo=True)],
    "sampling.temperature": numbers("sampling.temperature", (0, 1e-6, 100), (-0.001, 100.01)) + [
        Same(sampled(temperature=0), sampled(temperature=1e-6)), Differs(sampled(temperature=0), sampled(temperature=5))],
    "sampling.top_p": numbers("sampling.top_p", (1e-6, 1), (0, -1, 1.001)) + [
        Same(sampled(top_p=1e-6), greedy()), Differs(sampled(top_p=1, temperature=3), greedy())],
    "sampling.min_p": numbers("sampling.min_p", (0, 1), (-0.001, 1.001)) + [
        Same(sampled(min_p=1), greedy()), Differs(sampled(min_p=0, temperature=3), greedy())],
    "sampling.typical_p": numbers("sampling.typical_p", (1e-6, 1), (0, -1, 1.001)) + [
        Same(sampled(1, typical_p=1e-6, temperature=3), sampled(2, typical_p=1e-6, temperature=3)),
        Differs(sampled(1, typical_p=1, temperature=3), sampled(2, typical_p=1, temperature=3))],
    "sampling.repetition_penalty": numbers("sampling.repetition_penalty", (1e-3, 10), (0, -1, 10.01)) + [
        Differs(greedy(100), greedy(100, repetition_penalty=5)), Same(greedy(), greedy(repetition_penalty=1))],
    "sampling.frequency_penalty": numbers("sampling.frequency_penalty", (-2, 2), (-2.01, 2.01)) + [
        Differs(greedy(100), greedy(100, frequency_penalty=2))],
    "sampling.presence_penalty": numbers("sampling.presence_penalty", (-2, 2), (-2.01, 2.01)) + [
        Differs(greedy(100), greedy(100, presence_penalty=2))],
    "sampling.top_k": [Same(sampled(top_k=1), greedy()),
                       Same(sampled(temperature=3, top_k=0), sampled(temperature=3, top_k=2 ** 31 - 1)),
                       Differs(sampled(temperature=3, top_k=1), sampled(temperature=3)),
                       Bad("sampling.top_k", sampling={"top_k": 2 ** 31}),
                       Bad("sampling.top_k", sampling={"top_k": 2 ** 32 - 1})],
    "sampling.repeat_last_n": [Same(greedy(100, repetition_penalty=5, repeat_last_n=0), greedy(100)),
                               Differs(greedy(100, repetition_penalty=5, repeat_last_n=-1), greedy(100)),
                               Same(greedy(100, repetition_penalty=5, repeat_last_n=-1),
                                    greedy(100, repetition_penalty=5, repeat_last_n=2 ** 31 - 1)),
                               Same(greedy(100, repetition_penalty=5), greedy(100, repetition_penalty=5, repeat_last_n=64)),
                               Bad("sampling.repeat_last_n", sampling={"repeat_last_n": -2}),
                               Bad("sampling.repeat_last_n", sampling={"repeat_last_n": -2 ** 31})],
    "sampling.logit_bias": [
        Good(lambda answer: answer.ids == [7] * 5, **greedy(5, logit_bias={7: 100})),
        Good(lambda answer: 0 not in answer.ids, **greedy(5, logit_bias={i: -100 for i in range(4)})),
        Good(lambda answer: answer.ids == [VOCABULARY - 1], **greedy(1, logit_bias={VOCABULARY - 1: 100})),
        *(Bad("sampling.logit_bias[3]", sampling={"logit_bias": {3: value}}) for value in (-100.1, 100.1, *NOT_FINITE)),
        Bad(f"sampling.logit_bias[{VOCABULARY}]", sampling={"logit_bias": {VOCABULARY: 1}}),
        Bad("sampling.logit_bias[4294967295]", sampling={"logit_bias": {2 ** 32 - 1: 101}}),
        # 1024 entries pass the count: the ids are what is wrong with them.
        Bad("sampling.logit_bias[", sampling={"logit_bias": {i: 1 for i in range(1024)}}),
        Bad("sampling.logit_bias:", sampling={"logit_bias": {i: 1 for i in range(1025)}})],
    "sampling.seed": [Good(lambda answer: answer.accepted.seed == 2 ** 64 - 1, **sampled(2 ** 64 - 1)),
                      Good(lambda answer: answer.accepted.seed == 0, **sampled(0)),
                      Same(sampled(5, temperature=3), sampled(5, temperature=3)),
                      Differs(sampled(5, temperature=3), sampled(2 ** 32 + 5, temperature=3))],
    "stopping.max_new_tokens": [
        Good(lambda answer: len(answer.ids) == CONTEXT - 3, stopping={"max_new_tokens": CONTEXT - 3, "ignore_eos": True}),
        Good(lambda answer: answer.ids == [], stopping={"max_new_tokens": 0}),
        *(Bad("stopping.max_new_tokens", stopping={"max_new_tokens": value})
          for value in (CONTEXT - 2, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1))],
    "stopping.min_new_tokens": [
        Good(lambda answer: len(answer.ids) == 5, sampling={"temperature": 0, "logit_bias": {EOS: 100}},
             stopping={"min_new_tokens": 4}),
        Good(lambda answer: len(answer.ids) == 4, stopping={"min_new_tokens": 4, "max_new_tokens": 4}),
        Bad("stopping.min_new_tokens", stopping={"min_new_tokens": 5, "max_new_tokens": 4}),
        Bad("stopping.min_new_tokens", stopping={"min_new_tokens": CONTEXT - 2}),
        Bad("stopping.min_new_tokens", stopping={"min_new_tokens": 2 ** 32 - 1})],
    "stopping.stop_strings": [
        Good(reason("STOP_STRING", stop_string="xx"), sampling={"temperature": 0, "logit_bias": {ord("x"): 100}},
             stopping={"stop_strings": [*"abcdefghijklmno", "xx"]}),
        Good(lambda answer: answer.finished.stop_string == "x" * 100, stopping={"stop_strings": ["y" * 256, "x" * 100]},
             sampling={"temperature": 0, "logit_bias": {ord("x"): 100}}),
        Bad("stopping.stop_strings[1]", stopping={"stop_strings": ["a", ""]}),
        Bad("stopping.stop_strings[0]", stopping={"stop_strings": ["a" * 257]}),
        Bad("stopping.stop_strings[0]", stopping={"stop_strings": ["€" * 86]}),  # bytes, not characters
        Bad("stopping.stop_strings:", stopping={"stop_strings": ["a"] * 17})],
    "stopping.stop_token_ids": [
        Good(reason("STOP_TOKEN", stop_token_id=7), sampling={"temperature": 0, "logit_bias": {7: 100}},
             stopping={"stop_token_ids": [9, 7]}),
        Good(lambda answer: answer.ids, stopping={"stop_token_ids": [VOCABULARY - 1] * 1024}),
        Bad("stopping.stop_token_ids[1]", stopping={"stop_token_ids": [5, VOCABULARY]}),
        Bad("stopping.stop_token_ids:", stopping={"stop_token_ids": [5] * 1025})],
    "stopping.ignore_eos": [
        Good(reason("EOS", stop_token_id=EOS), sampling={"temperature": 0, "logit_bias": {EOS: 100}}),
        Good(lambda answer: answer.ids == [EOS] * 6, sampling={"temperature": 0, "logit_bias": {EOS: 100}},
             stopping={"ignore_eos": True, "max_new_tokens": 6})],
    "stopping.include_stop": [
        Good(text_is(text), sampling={"temperature": 0, "logit_bias": {ord("x"): 100}},
             stopping={"stop_strings": ["xx"], "include_stop": include})
        for include, text in ((False, ""), (True, "xx"))],
    "logprobs.top": [
        Good(lambda answer: len(answer.tokens[0].top) == 64 and answer.tokens[0].rank == 1, logprobs={"top": 64}),
        Good(lambda answer: answer.tokens[0].HasField("logprob") and not answer.tokens[0].top, logprobs={"top": 0}),
        Good(lambda answer: not answer.tokens[0].HasField("logprob"), logprobs={}),
        Bad("logprobs.top", logprobs={"top": 65}), Bad("logprobs.top", logprobs={"top": 2 ** 32 - 1})],
    "logprobs.prompt": [
        Good(lambda answer: [t.HasField("logprob") for t in answer.prompt] == [False, True, True],
             logprobs={"prompt": True}),
        Good(lambda answer: answer.prompt == [], logprobs={"prompt": False})],
    "n": [Good(lambda answer: len(answer.outputs) == 128, n=128), Good(lambda answer: len(answer.outputs) == 1, n=1),
          Bad("n", n=0), Bad("n", n=129), Bad("n", n=2 ** 32 - 1)],
    "echo": [Good(prompt_is(1, 2, 3), echo=True), Good(prompt_is(), echo=False)],
    "truncate_prompt_tokens": [
        Good(prompt_is(3), truncate_prompt_tokens=1, echo=True),
        Good(prompt_is(1, 2, 3), truncate_prompt_tokens=2 ** 31 - 1, echo=True),
        Good(lambda answer: answer.accepted.prompt_tokens == CONTEXT - 10, token_ids={"ids": [1] * 1000},
             truncate_prompt_tokens=CONTEXT - 10),
        Bad("token_ids", token_ids={"ids": [1] * 1000}, truncate_prompt_tokens=CONTEXT + 1),
        Bad("truncate_prompt_tokens", truncate_prompt_tokens=0),
        Bad("truncate_prompt_tokens", truncate_prompt_tokens=2 ** 31)],
    "add_special_tokens": [
        Good(prompt_is(*b"x"), text="x", add_special_tokens=False, echo=True),
        Good(prompt_is(BOS, *b"x"), text="x", add_special_tokens=True, echo=True),
        Good(prompt_is(BOS, *b"x"), text="<s>x", add_special_tokens=True, echo=True),  # not doubled
        Good(prompt_is(*HI), chat=chat("hi"), add_special_tokens=True, echo=True)],
    "parse_special_tokens": [
        Good(prompt_is(BOS, END), text="<|end|>", parse_special_tokens=True, echo=True),
        Good(prompt_is(BOS, *b"<|end|>"), text="<|end|>", parse_special_tokens=False, echo=True),
        Good(prompt_is(BOS, USER, *b"<|end|>", END, *b"bot:"), chat=chat("<|end|>"), parse_special_tokens=False,
             echo=True)],
    "include_special_text": [
        Good(text_is(text), sampling={"temperature": 0, "logit_bias": {END: 100}},
             stopping={"max_new_tokens": 2}, include_special_text=include)
        for include, text in ((True, "<|end|>" * 2), (False, ""))],
    "priority": [Good(lambda answer: answer.ids, priority=value) for value in (-2 ** 31, 2 ** 31 - 1)] + [
        Elsewhere("queue_test.py")],
    "cache_salt": [Bad("cache_salt", cache_salt="tenant"), Good(lambda answer: answer.ids, cache_salt="")],
    "detach_seconds": [*(Good(lambda answer: answer.ids, detach_seconds=value) for value in (0, 0.5, 86400)),
                       *(Bad("detach_seconds", detach_seconds=value) for value in (-0.001, 86401, *NOT_FINITE)),
                       Elsewhere("attach_test.py")],
}

TOKENIZE = {
    "model": [Good(lambda answer: answer.token_ids == [BOS, *b"x"], model="tiny", text="x"),
              Missing("model", model="another", text="x")],
    "text": [Good(lambda answer: answer.token_ids == [BOS, THE, *b" x"] and
                  list(answer.raw) == [b"<s>", b"the", b" ", b"x"], text="the x"),
             Good(lambda answer: answer.token_ids == [BOS], text=""), Bad("prompt")],
    **CHAT_FIELDS,
    "chat.messages": CHAT_FIELDS["chat.messages"] + [Good(lambda answer: answer.token_ids == HI, chat=chat("hi"))],
    "add_special_tokens": [Good(lambda answer: answer.token_ids == [*b"x"], text="x", add_special_tokens=False)],
    "parse_special_tokens": [Good(lambda answer: answer.token_ids == [BOS, *b"<|end|>"], text="<|end|>",
                                  parse_special_tokens=False)],
}
DETOKENIZE = {
    "model": [Good(lambda answer: answer.text == "x", model="tiny", token_ids=[ord("x")]),
              Missing("model", model="another")],
    "token_ids": [Good(lambda answer: (answer.text, answer.raw) == ("the\ufffd", b"the\xc3"), token_ids=[THE, 0xC3]),
                  Good(lambda answer: answer.text == "", token_ids=[]),
                  Good(lambda answer: answer.raw == b"<|end|>", token_ids=[VOCABULARY - 1]),
                  Bad("token_ids[1]", token_ids=[1, VOCABULARY]), Bad("token_ids[0]", token_ids=[2 ** 32 - 1])],
    "include_special_text": [Good(lambda answer: answer.text == "x<|end|>", token_ids=[ord("x"), END],
                                  include_special_text=True),
                             Good(lambda answer: answer.text == "x", token_ids=[ord("x"), END])],
}
RENDER_CHAT = {
    "model": [Good(lambda answer: answer.token_ids == HI, model="tiny", chat=chat("hi")),
              Missing("model", model="another", chat=chat("hi"))],
    **CHAT_FIELDS,
    "chat.messages": CHAT_FIELDS["chat.messages"] + [
        Good(lambda answer: answer.text == "<s><|user|>hi<|end|>bot:" and answer.token_ids == HI, chat=chat("hi"))],
}
# A decoder has neither: whatever is asked, the model is what is wrong.
EMBED = {
    "model": [Bad("model", text="x"), Bad("model"), Missing("model", model="another", text="x")],
    "text": [Bad("model", text="x")], "token_ids.ids": [Bad("model", token_ids={"ids": [1]})],
    "add_special_tokens": [Bad("model", text="x", add_special_tokens=True)],
    "pooling": [Bad("model", text="x", pooling=pooling) for pooling in range(4)],
    "normalize": [Bad("model", text="x", normalize=True)],
}
CLASSIFY = {field: EMBED[field] for field in ("model", "text", "token_ids.ids", "add_special_tokens")}
ATTACH = {
    "request_id": [Missing("request_id", request_id="nobody", from_seq=1), Bad("request_id", from_seq=1),
                   Bad("request_id", request_id="r" * 257, from_seq=1), Elsewhere("attach_test.py")],
    "from_seq": [Bad("from_seq", request_id="ended"), Bad("from_seq", request_id="ended", from_seq=0),
                 Good(lambda events: events[0].HasField("accepted"), request_id="ended", from_seq=1),
                 Good(lambda events: events[0].event_seq == 2, request_id="ended", from_seq=2),
                 OutOfRange("from_seq", request_id="ended", from_seq=1000),
                 OutOfRange("from_seq", request_id="ended", from_seq=2 ** 64 - 1), Elsewhere("attach_test.py")],
}
ABORT = {
    "request_id": [Good(lambda answer: answer.aborted == 0, request_id="nobody"), Bad("request_id", request_id=""),
                   Bad("request_id", request_id="r" * 257), Bad("request_id"), Elsewhere("control_test.py")],
    "all": [Good(lambda answer: answer.aborted == 0, all=True), Bad("all", all=False)],
}
GET_MODEL = {"model": [Good(lambda answer: answer.name == "tiny", model=""),
                       Good(lambda answer: answer.name == "tiny", model="tiny"), Missing("model", model="another")]}
DRAIN = {"deadline_seconds": [*(Bad("deadline_seconds", deadline_seconds=value)
                                for value in (-0.001, 1000001, *NOT_FINITE)), Elsewhere("drain_test.py")]}

RPCS = {"Generate": GENERATE, "Attach": ATTACH, "Embed": EMBED, "Classify": CLASSIFY, "Tokenize": TOKENIZE,
        "Detokenize": DETOKENIZE, "RenderChat": RENDER_CHAT, "GetServerInfo": {}, "ListModels": {}, "GetLoad": {},
        "GetModel": GET_MODEL, "Abort": ABORT, "Drain": DRAIN}


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
                        self.assertTrue(self.out_of_range(limit.field, number(limit.max * (1 if whole else 1.001) + 1e-3 + whole)))

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
