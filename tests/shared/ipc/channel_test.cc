// The channel with both ends in one process, so that ThreadSanitizer sees all its threads.
#include "shared/ipc/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "tests/shared/ipc/message_samples.h"

namespace shardline {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

struct Ends {
  std::unique_ptr<Channel> gateway, worker;
};
Ends Open(uint64_t ring_bytes = 64 << 10) {
  auto gateway = Channel::Create({.ring_bytes = ring_bytes}, 11);
  EXPECT_TRUE(gateway.ok()) << gateway.status();
  EXPECT_FALSE((*gateway)->peer_attached());
  auto worker = Channel::Attach(dup((*gateway)->fd()), 11);
  EXPECT_TRUE(worker.ok()) << worker.status();
  EXPECT_TRUE((*gateway)->peer_attached());
  return {*std::move(gateway), *std::move(worker)};
}

TEST(Channel, CarriesMessagesBothWays) {
  Ends ends = Open();
  ASSERT_TRUE(ends.gateway->Send(Sample<Submit>(), 1s).ok());
  ASSERT_TRUE(ends.gateway->Send(Sample<Cancel>(), 1s).ok());
  ASSERT_TRUE(ends.worker->Send(Sample<Tokens>(), 1s).ok());

  auto got = ends.worker->Receive(1s);
  ASSERT_TRUE(got.ok() && got->has_value());
  EXPECT_EQ((*got)->kind, MessageKind::kSubmit);
  EXPECT_EQ((*got)->As<Submit>()->prompt, Sample<Submit>().prompt);
  EXPECT_TRUE(absl::IsInvalidArgument((*got)->As<Cancel>().status()));
  got = ends.worker->Receive(1s);
  ASSERT_TRUE(got.ok() && got->has_value());
  EXPECT_EQ((*got)->As<Cancel>()->key, 42u);
  got = ends.gateway->Receive(1s);
  ASSERT_TRUE(got.ok() && got->has_value());
  EXPECT_EQ((*got)->As<Tokens>()->header.key, 42u);
  EXPECT_TRUE(ends.gateway->peer_status().ok());
  EXPECT_TRUE(ends.worker->peer_status().ok());
}

TEST(Channel, WaitsEndAtTheirLimit) {
  Ends ends = Open(4096);
  EXPECT_FALSE(ends.worker->Receive(0s)->has_value());
  auto start = Clock::now();
  EXPECT_FALSE(ends.worker->Receive(50ms)->has_value());
  EXPECT_GE(Clock::now() - start, 50ms);
  const std::vector<std::byte> payload(1000);
  absl::Status status;
  start = Clock::now();
  for (int sent = 0; status.ok(); ++sent) {
    ASSERT_LT(sent, 5);
    status = ends.gateway->SendBytes(MessageKind::kSubmit, payload, 50ms);
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_GE(Clock::now() - start, 50ms);
  EXPECT_THAT(Message(status), HasSubstr("worker"));
  // Room again after a read.
  ASSERT_TRUE(ends.worker->Receive(1s)->has_value());
  EXPECT_TRUE(ends.gateway->SendBytes(MessageKind::kSubmit, payload, 1s).ok());
}

TEST(Channel, MessagesLargerThanTheLimitAreRefusedAndTheChannelGoesOn) {
  Ends ends = Open(4096);
  Submit large;
  large.prompt.resize(1024);
  EXPECT_EQ(ends.gateway->Send(large, 1s).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ends.gateway->Send(Sample<Submit>(), 1s).ok());
  EXPECT_TRUE(ends.worker->Receive(1s)->has_value());
}

TEST(Channel, DefaultRingsCarryTheLargestMessage) {
  Ends ends = Open(ChannelOptions().ring_bytes);
  std::vector<std::byte> payload(kMaxMessageBytes);
  payload.back() = std::byte{7};
  for (int lap = 0; lap < 5; ++lap) {
    ASSERT_TRUE(ends.gateway->SendBytes(MessageKind::kSubmit, payload, 10s).ok());
    const auto got = ends.worker->Receive(10s);
    ASSERT_TRUE(got.ok() && got->has_value());
    ASSERT_EQ((*got)->payload.size(), payload.size());
    ASSERT_EQ((*got)->payload.back(), std::byte{7});
  }
  payload.push_back({});
  EXPECT_EQ(ends.gateway->SendBytes(MessageKind::kSubmit, payload, 1s).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(Channel, ManySendersOneReceiver) {
  Ends ends = Open(8192);
  constexpr int kSenders = 4, kEach = 2000;
  std::vector<std::thread> senders;
  for (int s = 0; s < kSenders; ++s) {
    senders.emplace_back([&, s] {
      for (int i = 0; i < kEach; ++i) {
        Submit m = Sample<Submit>();
        m.header.key = static_cast<uint64_t>(s) << 32 | i;
        m.prompt.assign(i % 50, static_cast<uint32_t>(i));
        EXPECT_TRUE(ends.gateway->Send(m, 30s).ok());
      }
    });
  }
  std::vector<uint32_t> next(kSenders);
  for (int i = 0; i < kSenders * kEach; ++i) {
    const auto got = ends.worker->Receive(30s);
    ASSERT_TRUE(got.ok() && got->has_value()) << i;
    const auto m = (*got)->As<Submit>();
    ASSERT_TRUE(m.ok());
    const auto sender = m->header.key >> 32;
    ASSERT_LT(sender, next.size());
    ASSERT_EQ(static_cast<uint32_t>(m->header.key), next[sender]++);  // each sender's own order
    ASSERT_EQ(m->prompt.size(), (m->header.key & 0xffffffff) % 50);
  }
  for (auto& thread : senders) thread.join();
}

TEST(Channel, CloseEndsEveryWaitOnBothSides) {
  Ends ends = Open(4096);
  const std::vector<std::byte> payload(4000);
  ASSERT_TRUE(ends.gateway->SendBytes(MessageKind::kSubmit, payload, 1s).ok());  // full
  const auto start = Clock::now();
  auto sender = std::async(std::launch::async, [&] {
    return ends.gateway->SendBytes(MessageKind::kSubmit, payload, 60s);
  });
  auto receiver =
      std::async(std::launch::async, [&] { return ends.gateway->Receive(60s).status(); });
  std::promise<absl::Status> gone;
  ends.gateway->OnPeerGone([&](const absl::Status& status) { gone.set_value(status); });
  std::this_thread::sleep_for(20ms);
  ends.worker->Close();
  EXPECT_TRUE(absl::IsUnavailable(sender.get()));
  EXPECT_TRUE(absl::IsUnavailable(receiver.get()));
  EXPECT_THAT(Message(gone.get_future().get()), HasSubstr("the worker closed the channel"));
  EXPECT_TRUE(absl::IsUnavailable(ends.worker->Receive(60s).status()));
  EXPECT_TRUE(absl::IsUnavailable(ends.worker->Send(Sample<Finished>(), 60s)));
  EXPECT_LT(Clock::now() - start, 30s);  // no wait ran to its limit
}

TEST(Channel, OwnCloseEndsOwnWaits) {
  Ends ends = Open();
  auto receiver =
      std::async(std::launch::async, [&] { return ends.worker->Receive(60s).status(); });
  std::this_thread::sleep_for(20ms);
  ends.worker->Close();
  EXPECT_THAT(Message(receiver.get()), HasSubstr("the channel is closed"));
}

TEST(Channel, WhatWasSentBeforeTheEndIsDelivered) {
  Ends ends = Open();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(ends.worker->Send(Sample<Finished>(), 1s).ok());
  ends.worker.reset();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(ends.gateway->Receive(5s)->has_value());
  EXPECT_TRUE(absl::IsUnavailable(ends.gateway->Receive(60s).status()));
}

// A worker that ends by itself must not take the gateway's answer for the gateway's death.
TEST(Channel, OnPeerGoneIsSilentAfterOwnClose) {
  for (int round = 0; round < 20; ++round) {
    Ends ends = Open();
    Channel* gateway = ends.gateway.get();  // which lives until its watch has ended
    gateway->OnPeerGone([gateway](const absl::Status&) { gateway->Close(); });
    std::atomic<int> fired{0};
    ends.worker->OnPeerGone([&](const absl::Status&) { ++fired; });
    ends.worker->Close();
    ends.gateway.reset();
    ends.worker.reset();
    ASSERT_EQ(fired.load(), 0);
  }
}

TEST(Channel, OnPeerGoneFiresAtOnceWhenItIsLate) {
  Ends ends = Open();
  ends.worker.reset();
  while (ends.gateway->Receive(1s).ok()) {
  }
  std::promise<void> fired;
  ends.gateway->OnPeerGone([&](const absl::Status& status) {
    EXPECT_TRUE(absl::IsUnavailable(status));
    fired.set_value();
  });
  EXPECT_EQ(fired.get_future().wait_for(30s), std::future_status::ready);
}

TEST(Channel, AWorkerOfAnotherEpochIsRefused) {
  auto gateway = Channel::Create({.ring_bytes = 4096}, 11);
  ASSERT_TRUE(gateway.ok());
  const auto worker = Channel::Attach(dup((*gateway)->fd()), 12);
  EXPECT_THAT(Message(worker.status()), HasSubstr("epoch 11, not 12"));
}

TEST(Channel, ASideCanBeTakenOnce) {
  Ends ends = Open();
  const auto second = Channel::Attach(dup(ends.gateway->fd()), 11);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  // The first goes on.
  ASSERT_TRUE(ends.gateway->Send(Sample<Pause>(), 1s).ok());
  EXPECT_TRUE(ends.worker->Receive(1s)->has_value());
}

// The words that wake the other side are shared; nonsense there may delay a wait, no more.
TEST(Channel, SpoiledDoorbellOnlyDelays) {
  auto gateway = Channel::Create({.ring_bytes = 4096}, 11);
  ASSERT_TRUE(gateway.ok());
  auto spoiler = Segment::Map(dup((*gateway)->fd()), 11);
  ASSERT_TRUE(spoiler.ok());
  auto worker = Channel::Attach(dup((*gateway)->fd()), 11);
  ASSERT_TRUE(worker.ok());
  auto receiver = std::async(std::launch::async, [&] { return (*worker)->Receive(60s); });
  std::this_thread::sleep_for(20ms);
  spoiler->ring(Side::kGateway).data.waiting.store(0);  // "nobody sleeps"
  ASSERT_TRUE((*gateway)->Send(Sample<Resume>(), 1s).ok());
  const auto got = receiver.get();
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(got->has_value());
}

TEST(Channel, ASpoiledRingIsDataLoss) {
  auto gateway = Channel::Create({.ring_bytes = 4096}, 11);
  ASSERT_TRUE(gateway.ok());
  auto spoiler = Segment::Map(dup((*gateway)->fd()), 11);
  ASSERT_TRUE(spoiler.ok());
  spoiler->ring(Side::kWorker).head.store(~uint64_t{0});
  spoiler->ring(Side::kGateway).tail.store(~uint64_t{0});
  EXPECT_EQ((*gateway)->Receive(60s).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*gateway)->Receive(60s).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ((*gateway)->Send(Sample<Pause>(), 60s).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace shardline
