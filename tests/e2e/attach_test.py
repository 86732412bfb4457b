"""Readers that leave and come back: Attach shows every event again, to the byte, and only one call reads at a time."""

import os
import random
import re
import signal
import time

import grpc

import models
from harness import CALL_SECONDS, SMALL_WINDOW, Reading, ServerTest, gather, pb, request, run, stub_of, until

ENDLESS = pb.StoppingParams(ignore_eos=True)


def raw(events):
    return [event.SerializeToString() for event in events]


class Attach(ServerTest):
    FLAGS = ("--kv-cache-bytes=268435456",)

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000)

    def varied(self, i, detach=60):
        generator = random.Random(i)
        return request([generator.randrange(128) for _ in range(generator.choice([1, 20, 70]))],
                       request_id=f"{self.id()}{i}", max_new=generator.randrange(40, 120), n=generator.choice([1, 1, 3]),
                       top=generator.choice([None, 0, 4]), echo=generator.choice([True, False]),
                       sampling=pb.SamplingParams(temperature=1, seed=i), detach_seconds=detach,
                       stopping=pb.StoppingParams(ignore_eos=True))

    def start(self, **fields):
        """A long request with a reader that has its first token."""
        fields.setdefault("stopping", ENDLESS)
        return Reading(self.server.stream(request([1, 2], **fields))).wait_for(2)

    def gone(self, request_id):
        self.refused(grpc.StatusCode.NOT_FOUND, lambda: self.server.attach(request_id))

    def live(self):
        load = self.server.load()
        return load.running_requests + load.queued_requests

    def test_clients_that_are_cut_off_join_again_without_a_gap(self):
        for i in range(24):
            with self.subTest(i=i):
                made, generator = self.varied(i), random.Random(1000 + i)
                way = generator.choice(["cancel", "deadline", "channel"])
                server, channel = self.server, None
                if way == "channel":
                    channel = server.connect()
                    call = stub_of(channel).Generate(made, timeout=CALL_SECONDS)
                else:
                    call = server.inference.Generate(made, timeout=0.05 if way == "deadline" else CALL_SECONDS)
                first = Reading(call, stop_after=generator.randrange(1, 40)).join()
                if way == "deadline":
                    until(lambda: not call.is_active())
                    if not first.events:
                        continue  # too late to be accepted, or to tell
                else:
                    first.wait_for(1)
                    channel.close() if channel is not None else call.cancel()
                # Several more are cut off on the way; the last reads to the end.
                seen = list(first.events)
                for _ in range(generator.randrange(3)):
                    again = server.attach(made.request_id, len(seen) + 1)
                    more = Reading(again, stop_after=generator.randrange(1, 20)).join()
                    seen += more.events
                    again.cancel()
                rest = Reading(server.attach(made.request_id, len(seen) + 1)).join()
                self.assertIsNone(rest.error)
                seen += rest.events
                answer = gather(seen, n=made.n)
                self.assertIsNone(answer.error)
                whole = Reading(server.attach(made.request_id, 1)).join()
                self.assertEqual(raw(whole.events), raw(seen))
                # And the answer is what it would have been.
                made.request_id = ""
                undisturbed, = server.generate_all([made])
                self.assertEqual([output.bits for output in answer.outputs],
                                 [output.bits for output in undisturbed.outputs])
                self.assertEqual(raw(answer.prompt), raw(undisturbed.prompt))

    def test_only_one_reads_the_newest_takes_over(self):
        first = self.start(request_id="taken", detach_seconds=0)
        for _ in range(3):
            second = Reading(self.server.attach("taken")).wait_for(5)
            self.assertEqual(first.join().code, grpc.StatusCode.ABORTED)
            self.assertEqual(raw(second.events[:len(first.events)])[:5], raw(first.events[:len(second.events)])[:5])
            first = second
        first.call.cancel()  # detach_seconds is 0: whoever reads now decides
        first.join()
        until(lambda: self.live() == 0)
        self.gone("taken")

    def test_many_want_to_read_at_once(self):
        made = request([1, 2], request_id="wanted", max_new=2000, detach_seconds=60, stopping=ENDLESS)
        readings = [Reading(self.server.stream(made)).wait_for(1)]
        readings += [Reading(self.server.attach("wanted")) for _ in range(16)]
        whole = [reading for reading in readings if reading.join().error is None]
        self.assertGreater(len(whole), 0)
        for reading in readings:
            self.assertIn(reading.code, (grpc.StatusCode.OK, grpc.StatusCode.ABORTED))
            self.assertEqual(raw(reading.events), raw(whole[0].events[:len(reading.events)]))
        self.assertEqual(len(gather(whole[0].events).ids), 2000)

    def test_many_outputs_run_on_alone(self):
        made = request([1, 2], request_id="many", n=8, max_new=200, detach_seconds=60, stopping=ENDLESS)
        first = Reading(self.server.stream(made), stop_after=2).join()
        first.call.cancel()
        self.server.settle()  # it ends without a reader
        answer = gather(Reading(self.server.attach("many")).join().events, n=8)
        self.assertEqual([len(output.ids) for output in answer.outputs], [200] * 8)

    def test_the_worker_dies_while_nobody_reads(self):
        reading = self.start(request_id="unlucky", n=3, detach_seconds=60)
        reading.call.cancel()
        reading.join()
        os.kill(self.server.worker_pid(), signal.SIGKILL)
        until(lambda: self.live() == 0)
        late = Reading(self.server.attach("unlucky")).join()
        self.assertEqual(gather(late.events, n=3).error.code, pb.ERROR_CODE_WORKER_LOST)
        self.assertEqual(raw(late.events[:len(reading.events)]), raw(reading.events))
        until(self.server.serving, 30, "the next worker")

    def test_the_end_of_a_call_that_was_replaced_means_nothing(self):
        first = self.start(request_id="replaced", detach_seconds=0)
        second = Reading(self.server.attach("replaced")).wait_for(2)
        first.join()
        first.call.cancel()
        at = len(second.events)
        second.wait_for(at + 20)
        self.server.abort(request_id="replaced")
        gather(second.join().events)

    def test_without_detaching_the_calls_end_is_the_requests(self):
        before = self.server.settle()
        for end in (lambda call, channel: call.cancel(), lambda call, channel: channel.close()):
            channel = self.server.connect()
            call = stub_of(channel).Generate(request([1] * 50, request_id="tied", stopping=ENDLESS), timeout=CALL_SECONDS)
            Reading(call, stop_after=3).join()
            end(call, channel)
            self.server.settle()  # nothing in flight, no cache in use
            self.gone("tied")
            channel.close()
        after = self.server.settle()
        self.assertEqual(after['shardline_requests_total{outcome="cancelled"}'] -
                         before.get('shardline_requests_total{outcome="cancelled"}', 0), 2)

    def test_a_detached_request_runs_on_and_ends_by_itself(self):
        first = Reading(self.server.stream(request([1, 2], request_id="alone", max_new=300, detach_seconds=60,
                                                   stopping=ENDLESS)), stop_after=2).join()
        first.call.cancel()
        self.server.settle()
        late = Reading(self.server.attach("alone")).join()
        self.assertEqual(raw(late.events[:2]), raw(first.events))
        answer = gather(late.events)
        self.assertEqual((len(answer.ids), answer.finished.reason), (300, pb.FINISH_REASON_LENGTH))
        again = Reading(self.server.attach("alone")).join()
        self.assertEqual(raw(again.events), raw(late.events))

    def test_nobody_comes_back(self):
        before = self.server.settle()
        reading = self.start(request_id="deserted", detach_seconds=0.5)
        left = time.monotonic()
        reading.call.cancel()
        reading.join()
        self.server.settle()
        self.assertGreaterEqual(time.monotonic() - left, 0.4)
        self.gone("deserted")
        after = self.server.settle()
        self.assertEqual(after['shardline_requests_total{outcome="cancelled"}'] -
                         before.get('shardline_requests_total{outcome="cancelled"}', 0), 1)

    def test_who_comes_back_stops_the_clock(self):
        reading = self.start(request_id="kept", detach_seconds=4)
        reading.call.cancel()
        reading.join()
        back = Reading(self.server.attach("kept", 3)).wait_for(1)
        time.sleep(5)  # longer than the request may be without a reader
        self.assertEqual(self.server.load().running_requests, 1)
        back.wait_for(len(back.events) + 5)
        self.server.abort(request_id="kept")
        self.assertEqual(back.join().events[-1].finished.reason, pb.FINISH_REASON_ABORTED)

    def test_abort_of_a_detached_request(self):
        reading = self.start(request_id="unwatched", detach_seconds=60)
        reading.call.cancel()
        reading.join()
        until(lambda: self.live() == 1)
        self.assertEqual(self.server.abort(request_id="unwatched"), 1)
        self.server.settle()
        answer = gather(Reading(self.server.attach("unwatched")).join().events)
        self.assertEqual(answer.finished.reason, pb.FINISH_REASON_ABORTED)
        self.assertEqual(self.server.abort(request_id="unwatched"), 0)

    def test_which_event(self):
        reading = self.start(request_id="events", detach_seconds=60)
        for _ in range(2):  # live, then finished
            self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.attach("events", 0))
            self.refused(grpc.StatusCode.OUT_OF_RANGE, lambda: self.server.attach("events", 10 ** 9))
            self.server.abort(request_id="events")
            reading.join()
        end = len(reading.events)
        for first in (1, 2, end):
            again = Reading(self.server.attach("events", first)).join()
            self.assertEqual(raw(again.events), raw(reading.events[first - 1:]))
        self.refused(grpc.StatusCode.OUT_OF_RANGE, lambda: self.server.attach("events", end + 2))
        self.gone("no such request")

    def test_events_that_are_no_longer_kept(self):
        reading = Reading(self.server.stream(request([1, 2], request_id="large", max_new=4500, top=64, detach_seconds=60,
                                                     stopping=ENDLESS))).join()
        self.refused(grpc.StatusCode.OUT_OF_RANGE, lambda: self.server.attach("large", 1))
        last = Reading(self.server.attach("large", len(reading.events))).join()
        self.assertEqual(raw(last.events), raw(reading.events[-1:]))

    def test_a_live_id_is_taken_a_finished_one_is_free(self):
        reading = self.start(request_id="name", detach_seconds=60)
        error = self.refused(grpc.StatusCode.ALREADY_EXISTS, lambda: self.server.stream(request([1], request_id="name")))
        self.assertIn("name", error.details())
        reading.call.cancel()
        reading.join()
        self.refused(grpc.StatusCode.ALREADY_EXISTS, lambda: self.server.stream(request([1], request_id="name")))
        self.server.abort(request_id="name")
        until(lambda: self.live() == 0)
        answer = self.server.generate([1], max_new=1, request_id="name")
        again = gather(Reading(self.server.attach("name")).join().events)
        self.assertEqual((again.ids, again.accepted), (answer.ids, answer.accepted))

    def test_ids_of_the_servers_own(self):
        ids = [self.server.generate([1], max_new=1).accepted.request_id for _ in range(50)]
        self.assertEqual(len(set(ids)), 50)
        values = []
        for text in ids:
            self.assertTrue(re.fullmatch("[0-9a-f]{32}", text), text)
            values.append(int(text, 16))
        for bit in range(128):  # every bit is now 0, now 1; by chance one is not, once in 10^13
            self.assertEqual({value >> bit & 1 for value in values}, {0, 1}, bit)
        gather(Reading(self.server.attach(ids[-1])).join().events)

    def test_a_stream_that_waits_for_its_reader_goes_on_with_another(self):
        # Unread, the call's own buffers fill, then the ring: the request is paused.
        made = request([1, 2], request_id="slow", top=64, detach_seconds=60, max_new=5000, stopping=ENDLESS)
        channel = self.server.connect(*SMALL_WINDOW)
        self.addCleanup(channel.close)
        call = stub_of(channel).Generate(made, timeout=CALL_SECONDS)
        next(call)
        self.server.wait_until_paused()
        reading = Reading(self.server.attach("slow", 2)).join()
        self.assertIsNone(reading.error)
        self.assertEqual(sum(len(event.tokens.tokens) for event in reading.events), 5000)
        self.refused(grpc.StatusCode.ABORTED, lambda: call)


class Queued(ServerTest):
    FLAGS = ("--max-sequences=1",)

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000)

    def test_attach_while_queued(self):
        first = Reading(self.server.stream(request([1], request_id="first", stopping=ENDLESS))).wait_for(2)
        call = self.server.stream(request([2], request_id="second", max_new=5, detach_seconds=60, stopping=ENDLESS))
        second = Reading(call).wait_for(1)
        until(lambda: self.server.load().queued_requests == 1)
        call.cancel()
        second.join()
        self.assertEqual(self.server.load().queued_requests, 1)
        again = Reading(self.server.attach("second")).wait_for(1)
        self.assertEqual(raw(again.events), raw(second.events))
        first.call.cancel()
        first.join()
        self.assertEqual(len(gather(again.join().events).ids), 5)


if __name__ == "__main__":
    run()
