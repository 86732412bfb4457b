#include "worker/parallel/roll_call.h"

#include <array>
#include <utility>

#include "worker/parallel/agree.h"

namespace shardline {

RollCall::RollCall(ProcessGroup& group, Events events)
    : group_(group), events_(std::move(events)), thread_([this] { Run(); }) {}

// Without Done (a fault of this rank), the others' next call would wait for this one.
RollCall::~RollCall() {
  if (!thread_.joinable()) return;
  group_.Abort("it did not load");
  (void)Done();
}

absl::Status RollCall::Done() {
  {
    std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
  return status_;
}

bool RollCall::NextCall() {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, std::chrono::seconds(1), [&] { return done_; });
}

void RollCall::Run() {
  uint64_t before = 0;
  for (bool all_done = false; !all_done;) {
    const bool loads = NextCall();
    const std::array<uint64_t, 2> own = {headway_, loads ? 0u : 1u};
    const auto words = GatherWords(group_, own);
    if (!words.ok()) {
      status_ = words.status();
      if (loads && events_.failed) events_.failed(status_);
      return;
    }
    uint64_t headway = 0;
    all_done = true;
    for (size_t i = 0; i < words->size(); i += own.size()) {
      headway += (*words)[i];
      all_done = all_done && (*words)[i + 1] == 1;
    }
    if (std::exchange(before, headway) != headway && events_.headway) events_.headway();
  }
}

}  // namespace shardline
