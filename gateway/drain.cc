#include "gateway/drain.h"

#include <algorithm>

namespace shardline {

void Drain::Begin(Clock::time_point deadline) { Begin(deadline, nullptr); }

void Drain::Begin(Clock::time_point deadline, const std::shared_ptr<Listener>& listener) {
  {
    std::lock_guard lock(mutex_);
    deadline_ = std::min(deadline_.value_or(deadline), deadline);
    std::erase_if(listeners_, [](const auto& weak) { return weak.expired(); });
    if (listener != nullptr) listeners_.push_back(listener);
    told_.reset();  // the newcomer has been told nothing
  }
  wake_();
}

std::optional<Clock::time_point> Drain::deadline() const {
  std::lock_guard lock(mutex_);
  return deadline_;
}

void Drain::Tell(const Progress& progress) {
  std::vector<std::shared_ptr<Listener>> listeners;
  {
    std::lock_guard lock(mutex_);
    if (told_ == progress) return;
    told_ = progress;
    for (const auto& weak : listeners_) {
      if (auto listener = weak.lock()) listeners.push_back(std::move(listener));
    }
  }
  for (const auto& listener : listeners) (*listener)(progress);
}

}  // namespace shardline
