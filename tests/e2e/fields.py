"""The rows of fields_test.py: for every field of every request, values that are served and what they do, and values
that are refused."""

import math
import re

import grpc

import models
from harness import pb

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
