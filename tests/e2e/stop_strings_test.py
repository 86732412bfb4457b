"""Stop strings in a text that arrives in every possible division into tokens, half characters included."""

import itertools
import pathlib

import models
from harness import ServerTest, pb, run

TEXT = "ab☃cdeé!".encode()
SETS = [
    ["☃"], ["cde"], ["b☃c", "☃"], ["zz", "deé"], ["é!"], ["cd", "bcd", "☃cd"], ["a"], ["ab☃cdeé!"], ["!x", "e!"],
    ["b☃cdx", "☃c"], ["d", "cde", "☃cdeé"], ["é", "eé", "deé"],
]


def divisions():
    """Every way to cut TEXT, each as its parts (a, b)."""
    for cuts in itertools.product((False, True), repeat=len(TEXT) - 1):
        at = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(TEXT)]
        yield list(zip(at, at[1:]))


def first_match(stops, text=TEXT):
    """(begin, end, stop) of the stop string whose end comes first, at the same end the longest; None: no match."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop.encode())]
        if found:
            stop = max(found, key=lambda stop: len(stop.encode()))
            return end - len(stop.encode()), end, stop
    return None


class StopStrings(ServerTest):
    @classmethod
    def make_model(cls, folder):
        cls.parts = models.that_says(TEXT, folder)
        return pathlib.Path(folder)

    def made(self, parts, **stopping):
        bos = len(self.parts)
        made = pb.GenerateRequest(token_ids=pb.TokenIds(ids=[bos]), sampling=pb.SamplingParams(
            temperature=0, logit_bias={self.parts[part]: 100 for part in parts}), stopping=pb.StoppingParams(**stopping))
        return made

    def answers(self, requests):
        """In groups, so that the queue holds them."""
        for i in range(0, len(requests), 64):
            yield from self.server.generate_all(requests[i:i + 64])

    def test_the_model_says_every_division(self):
        chosen = list(divisions())[::17]
        for parts, answer in zip(chosen, self.answers([self.made(parts) for parts in chosen]), strict=True):
            self.assertEqual(answer.ids, [*(self.parts[part] for part in parts), len(self.parts) + 1])
            self.assertEqual(answer.text, TEXT.decode())
            self.assertEqual(answer.finished.reason, pb.FINISH_REASON_EOS)

    def test_every_division(self):
        cases = [(parts, SETS[i % len(SETS)], bool(i // len(SETS) % 2)) for i, parts in enumerate(divisions())]
        requests = [self.made(parts, stop_strings=stops, include_stop=include) for parts, stops, include in cases]
        for (parts, stops, include), answer in zip(cases, self.answers(requests), strict=True):
            with self.subTest(parts=[TEXT[a:b] for a, b in parts], stops=stops, include=include):
                self.check(parts, stops, include, answer)

    def check(self, parts, stops, include, answer):
        match = first_match(stops)
        if match is None:
            self.assertEqual((answer.text, answer.finished.reason), (TEXT.decode(), pb.FINISH_REASON_EOS))
            return
        begin, end, stop = match
        self.assertEqual(answer.text.encode(), TEXT[:end if include else begin])
        self.assertEqual((answer.finished.reason, answer.finished.stop_string), (pb.FINISH_REASON_STOP_STRING, stop))
        # The token that completed it is the last, and counts.
        last = next(i for i, (_, b) in enumerate(parts) if b >= end)
        self.assertEqual(answer.ids, [self.parts[part] for part in parts[:last + 1]])
        # No piece tells what a stop string may still take back.
        told = ""
        for i, piece in enumerate(answer.pieces):
            told += piece
            self.assertTrue(TEXT[:begin].startswith(told.encode()) or (include and i == len(answer.pieces) - 1), told)

    def test_least_length(self):
        """Stop strings wait for min_new_tokens: one that begins before does not count."""
        for parts in ([(i, i + 1) for i in range(len(TEXT))],):
            for least in range(len(parts)):
                armed = parts[least][0]
                text = TEXT[armed:]
                match = first_match(["c", "eé"], text)
                answer, = self.server.generate_all([self.made(parts, stop_strings=["c", "eé"], min_new_tokens=least)])
                expected = TEXT if match is None else TEXT[:armed + match[0]]
                self.assertEqual(answer.text.encode(), expected, least)


if __name__ == "__main__":
    run()
