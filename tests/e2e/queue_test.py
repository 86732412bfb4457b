"""Requests that wait: how many may, who comes first, and what a deadline does to them."""

import grpc

import models
from harness import Reading, ServerTest, control_pb, details, gather, pb, request, rpc_pb, run, until

ENDLESS = pb.StoppingParams(ignore_eos=True)


class QueueTest(ServerTest):
    """One sequence runs at a time; what else comes waits behind `self.first`."""

    @classmethod
    def make_model(cls, folder):
        return models.copy_of("llama", folder, max_position_embeddings=60000)

    def setUp(self):
        self.first = Reading(self.server.stream(request([1], request_id="first", stopping=ENDLESS))).wait_for(2)
        # Until the worker has told that its only slot is taken.
        until(lambda: self.server.load().groups[0].running_sequences == 1)

    def tearDown(self):
        self.first.call.cancel()
        self.first.join()
        super().tearDown()

    def put(self, *arguments, **fields):
        """A request that waits."""
        waiting = self.server.load().queued_requests
        reading = Reading(self.server.stream(request(*arguments, **fields))).wait_for(1)
        assert self.server.load().queued_requests == waiting + 1
        return reading

    def limits(self):
        return self.server.control.GetServerInfo(control_pb.GetServerInfoRequest(), timeout=30).limits

    def full(self, *arguments, **fields):
        error = self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED,
                             lambda: self.server.stream(request(*arguments, **fields)))
        delay = details(error, rpc_pb.RetryInfo).retry_delay.ToTimedelta().total_seconds()
        self.assertTrue(0 < delay <= 60, delay)
        return error.details()


class Order(QueueTest):
    FLAGS = ("--max-sequences=1",)

    def test_higher_priorities_first_then_by_arrival(self):
        priorities = [0, -2 ** 31, 5, None, 2 ** 31 - 1, 5]
        waiting = {}
        for i, priority in enumerate(priorities):
            fields = {} if priority is None else {"priority": priority}
            waiting[i] = self.put([i + 1], stopping=ENDLESS, **fields)
        running, order = self.first, []
        while waiting:
            running.call.cancel()
            running.join()
            begun = until(lambda: [i for i, reading in waiting.items() if len(reading.events) > 1])
            self.assertEqual(len(begun), 1)
            order += begun
            running = waiting.pop(begun[0])
        running.call.cancel()
        self.assertEqual(order, [4, 2, 5, 0, 3, 1])

    def test_a_deadline_that_passes_in_the_queue(self):
        before = self.server.metrics()
        late = Reading(self.server.inference.Generate(request([2] * 50, max_new=1), timeout=0.5)).join()
        if late.error is None:
            self.assertEqual(late.events[-1].error.code, pb.ERROR_CODE_DEADLINE)
        else:
            self.assertEqual(late.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        until(lambda: self.server.load().queued_requests == 0)
        self.first.call.cancel()
        after = self.server.settle()
        self.assertEqual(after["shardline_prompt_tokens_total"], before["shardline_prompt_tokens_total"])
        accepted = after["shardline_requests_accepted_total"] - before["shardline_requests_accepted_total"]
        # The client's own clock starts earlier: its reset of the call may arrive before the gateway's deadline.
        names = [f'shardline_requests_total{{outcome="{outcome}"}}' for outcome in ("deadline", "cancelled")]
        ended = sum(after.get(name, 0) - before.get(name, 0) for name in names) - 1  # the first was cancelled
        self.assertEqual(ended, accepted)  # 1, or too late to be accepted

    def test_cancelled_and_aborted_while_they_wait(self):
        before = self.server.metrics()
        cancelled = self.put([2] * 50, max_new=1)
        aborted = self.put([2] * 50, max_new=1, n=3, request_id="aborted")
        self.assertEqual(self.server.load().queued_tokens, 100)
        cancelled.call.cancel()
        self.assertEqual(cancelled.join().code, grpc.StatusCode.CANCELLED)
        self.server.abort(request_id="aborted")
        answer = gather(aborted.join().events, n=3)
        self.assertEqual({output.finished.reason for output in answer.outputs}, {pb.FINISH_REASON_ABORTED})
        until(lambda: self.server.load().queued_requests == 0)
        self.assertEqual(self.server.load().queued_tokens, 0)
        self.first.call.cancel()
        after = self.server.settle()
        self.assertEqual(after["shardline_prompt_tokens_total"], before["shardline_prompt_tokens_total"])


class Requests(QueueTest):
    FLAGS = ("--max-sequences=1", "--max-queued-requests=2")

    def test_as_many_as_the_flag_says(self):
        self.assertEqual((self.limits().max_queued_requests, self.limits().max_sequences), (2, 1))
        waiting = [self.put([i], max_new=1) for i in (1, 2)]
        rejected = 'shardline_requests_total{outcome="rejected"}'
        before = self.server.metrics().get(rejected, 0)
        self.assertIn("--max-queued-requests", self.full([3], max_new=1))
        self.assertEqual(self.server.metrics()[rejected], before + 1)
        waiting[0].call.cancel()
        waiting[0].join()
        until(lambda: self.server.load().queued_requests == 1)
        waiting.append(self.put([4], max_new=1))  # there is room again
        self.full([5], max_new=1)
        self.first.call.cancel()
        for reading in waiting[1:]:
            self.assertEqual(len(gather(reading.join().events).ids), 1)


class Tokens(QueueTest):
    FLAGS = ("--max-sequences=1", "--max-queued-tokens=100")

    def test_as_many_as_the_flag_says(self):
        self.assertEqual(self.limits().max_queued_tokens, 100)
        waiting = [self.put([1] * 40, max_new=1), self.put([2] * 60, max_new=1)]
        self.assertEqual(self.server.load().queued_tokens, 100)
        self.assertIn("--max-queued-tokens", self.full([3], max_new=1))
        waiting[0].call.cancel()
        waiting[0].join()
        until(lambda: self.server.load().queued_tokens == 60)
        self.full([3] * 41, max_new=1)
        waiting.append(self.put([3] * 40, max_new=1))
        self.first.call.cancel()
        for reading in waiting[1:]:
            gather(reading.join().events)


if __name__ == "__main__":
    run()
