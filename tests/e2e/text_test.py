"""Text in and out, with a byte-level tokenizer of 264 tokens."""

import grpc

import models
from harness import ServerTest, pb, request, run

BYTES = 256
BOS, EOS, USER, END = range(BYTES + len(models.MERGES), BYTES + len(models.MERGES) + 4)
THE = BYTES + models.MERGES.index("th e")


def ids_of(text):
    """The tokenizer's ids of a text in which no merge applies."""
    return list(text.encode())


class Text(ServerTest):
    @classmethod
    def make_model(cls, folder):
        return models.with_tokenizer(folder, eos_token_id=EOS)

    def tokenize(self, text=None, chat=None, **options):
        made = pb.TokenizeRequest(**options)
        if chat is not None:
            made.chat.CopyFrom(chat)
        else:
            made.text = text
        return self.server.inference.Tokenize(made, timeout=30)

    def test_tokenize(self):
        answer = self.tokenize("the x\n")
        self.assertEqual(list(answer.token_ids), [THE, *ids_of(" x\n")])
        self.assertEqual(list(answer.raw), [b"the", b" ", b"x", b"\n"])
        answer = self.tokenize("é☃")
        self.assertEqual(list(answer.token_ids), ids_of("é☃"))
        self.assertEqual(b"".join(answer.raw), "é☃".encode())
        self.assertEqual(list(self.tokenize("").token_ids), [])

    def test_special_tokens_in_text(self):
        self.assertEqual(list(self.tokenize("a<|end|>b").token_ids), [ord("a"), END, ord("b")])
        plain = self.tokenize("a<|end|>b", parse_special_tokens=False)
        self.assertNotIn(END, plain.token_ids)
        self.assertEqual(b"".join(plain.raw), b"a<|end|>b")

    def chat(self, content="x<|end|>y", **fields):
        return pb.ChatPrompt(messages=[pb.ChatMessage(role="user", content=content)], **fields)

    def test_render_chat(self):
        answer = self.server.inference.RenderChat(pb.RenderChatRequest(chat=self.chat("hi")), timeout=30)
        self.assertEqual(answer.text, "<s><|user|>hi<|end|>bot:")
        self.assertEqual(list(answer.token_ids), [BOS, USER, *ids_of("hi"), END, *ids_of("bot:")])
        answer = self.server.inference.RenderChat(
            pb.RenderChatRequest(chat=self.chat("hi", add_generation_prompt=False)), timeout=30)
        self.assertEqual(answer.text, "<s><|user|>hi<|end|>")

    def test_a_users_text_makes_no_special_token_unless_allowed(self):
        plain = self.tokenize(chat=self.chat(), parse_special_tokens=False)
        self.assertEqual(list(plain.token_ids).count(END), 1)  # the template's own
        self.assertEqual(list(self.tokenize(chat=self.chat()).token_ids).count(END), 2)

    def test_a_requests_own_template_is_refused(self):
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.inference.RenderChat(
            pb.RenderChatRequest(chat=self.chat(chat_template="{{ 1 }}")), timeout=30))
        self.assertIn("chat_template", error.details())
        self.assertIn("--allow-request-templates", error.details())

    def test_broken_json_is_named(self):
        for field, chat in (("chat.template_arguments_json", self.chat(template_arguments_json="{")),
                            ("chat.messages[0].extra_json",
                             pb.ChatPrompt(messages=[pb.ChatMessage(role="user", extra_json="[1]")]))):
            error = self.refused(grpc.StatusCode.INVALID_ARGUMENT,
                                 lambda: self.server.stream(request(chat=chat)))
            self.assertIn(field, error.details())

    def test_text_and_ids_and_chat_are_the_same_prompt(self):
        by_text = self.server.generate(text="one two", max_new=12, echo=True)
        self.assertEqual([token.id for token in by_text.prompt], ids_of("one two"))
        by_ids = self.server.generate(ids_of("one two"), max_new=12)
        self.assertEqual(by_text.ids, by_ids.ids)
        self.assertEqual(by_text.text, by_ids.text)
        rendered = self.server.inference.RenderChat(pb.RenderChatRequest(chat=self.chat("hi")), timeout=30)
        by_chat = self.server.generate(chat=self.chat("hi"), max_new=12)
        self.assertEqual(by_chat.ids, self.server.generate(list(rendered.token_ids), max_new=12).ids)

    def random_answer(self, seed, **fields):
        stopping = fields.pop("stopping", pb.StoppingParams())
        stopping.ignore_eos = True
        return self.server.generate(text="start", max_new=60, stopping=stopping,
                                    sampling=pb.SamplingParams(temperature=3, seed=seed), **fields)

    def test_text_is_the_tokens_bytes(self):
        for seed in range(12):  # random bytes: half characters, broken ones, special tokens
            for include in (False, True):
                answer = self.random_answer(seed, include_special_text=include)
                raw = b"".join(token.raw for token in answer.tokens if include or token.id < BOS)
                # Where special tokens are left out, they still end a character.
                if not include:
                    parts, part = [], b""
                    for token in answer.tokens:
                        if token.id >= BOS:
                            parts.append(part)
                            part = b""
                        else:
                            part += token.raw
                    expected = "".join(piece.decode(errors="replace") for piece in (*parts, part))
                    self.assertIn(answer.text, (expected, raw.decode(errors="replace")))
                else:
                    self.assertEqual(answer.text, raw.decode(errors="replace"))
                for token in answer.tokens:
                    if token.id < BYTES:
                        self.assertEqual(token.raw, bytes([token.id]))

    def test_stop_strings(self):
        for seed in range(6):
            whole = self.random_answer(seed, include_special_text=True)
            for start, length in ((5, 1), (9, 3), (20, 2)):
                stop = whole.text[start:start + length]
                if not stop or "\ufffd" in stop:
                    continue
                for include in (False, True):
                    answer = self.random_answer(seed, include_special_text=True, stopping=pb.StoppingParams(
                        stop_strings=["never to be seen", stop], include_stop=include))
                    self.assertEqual(answer.finished.reason, pb.FINISH_REASON_STOP_STRING)
                    self.assertEqual(answer.finished.stop_string, stop)
                    at = whole.text.index(stop)
                    self.assertEqual(answer.text, whole.text[:at + (len(stop) if include else 0)])
                    self.assertEqual(answer.ids, whole.ids[:len(answer.ids)])
                    self.assertLess(len(answer.ids), len(whole.ids))

    def test_a_prompt_past_the_context_names_its_field(self):
        for field, fields in (("text", {"text": "x" * 129}), ("chat", {"chat": self.chat("x" * 200)}),
                              ("token_ids", {"token_ids": pb.TokenIds(ids=[1] * 129)})):
            error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.stream(request(**fields)))
            self.assertTrue(error.details().startswith(field), error.details())
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.stream(request(text="")))
        self.assertIn("text", error.details())

    def test_detokenize(self):
        answer = self.server.inference.Detokenize(
            pb.DetokenizeRequest(token_ids=[THE, *ids_of(" é"), END]), timeout=30)
        self.assertEqual((answer.text, answer.raw), ("the é", "the é<|end|>".encode()))
        answer = self.server.inference.Detokenize(
            pb.DetokenizeRequest(token_ids=[THE, END, 0xC3], include_special_text=True), timeout=30)
        self.assertEqual(answer.text, "the<|end|>\ufffd")
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.inference.Detokenize(
            pb.DetokenizeRequest(token_ids=[1, 264]), timeout=30))
        self.assertIn("token_ids[1]", error.details())


if __name__ == "__main__":
    run()
