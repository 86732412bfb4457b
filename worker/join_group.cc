#include "worker/join_group.h"

#include <algorithm>
#include <cstdio>

#include "shared/base/clock.h"
#include "shared/base/quoted.h"
#include "shared/base/tcp_address.h"
#include "worker/parallel/gloo_group.h"
#include "worker/parallel/shm_group.h"

namespace shardline {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// On one host the gateway sees to it that all ranks get on with loading, and ends them all if one
// does not. Between hosts the ranks do, by calling to each other (RollCall).
constexpr std::chrono::hours kWhileLoading{24};
constexpr seconds kBetweenCalls{30};

// Tells of a wait: soon, when what is waited for changes, and then seldom.
class Waiting {
 public:
  Waiting(bool speaks, const std::function<void()>& alive) : speaks_(speaks), alive_(alive) {}

  void operator()(const std::string& what) {
    const auto now = Clock::now();
    if (now >= next_sign_) {
      alive_();
      next_sign_ = now + seconds(1);
    }
    if (what != what_) {
      what_ = what;
      next_line_ = std::max(now + milliseconds(500), std::min(next_line_, now + seconds(5)));
    }
    if (!speaks_ || what.empty() || now < next_line_) return;
    std::fprintf(stderr, "waiting for %s\n", OneLine(what).c_str());
    next_line_ = now + seconds(60);
  }

 private:
  const bool speaks_;
  const std::function<void()>& alive_;
  std::string what_;
  Clock::time_point next_sign_, next_line_;
};

absl::StatusOr<JoinedGroup> JoinOverTcp(const WorkerSettings& settings, const Terms& terms,
                                        const std::function<void()>& alive) {
  SL_ASSIGN_OR_RETURN(const TcpAddress place, ParseTcpAddress(settings.rendezvous, "--rendezvous"));
  SL_ASSIGN_OR_RETURN(Met met, Meet({.host = place.host,
                                     .port = place.port,
                                     .listen_fd = settings.rendezvous_fd,
                                     .rank = settings.rank,
                                     .size = settings.ranks,
                                     .node = settings.node_rank,
                                     .epoch = settings.epoch,
                                     .terms = terms,
                                     .speaks = settings.speaks(),
                                     .waiting = Waiting(settings.speaks(), alive)}));
  const auto limit = std::max<std::chrono::nanoseconds>(settings.rank_limit, kBetweenCalls);
  auto group = GlooGroup::Connect({.host = place.host,
                                   .port = place.port,
                                   .store = std::move(met.store),
                                   .rank = settings.rank,
                                   .size = settings.ranks,
                                   .epoch = met.epoch,
                                   .limit = std::chrono::duration_cast<milliseconds>(limit)});
  // Flags have been compared: whatever it is, it may go well the next time.
  if (!group.ok()) return Unavailable(Message(group.status()));
  return JoinedGroup{*std::move(group), met.epoch};
}

}  // namespace

absl::StatusOr<JoinedGroup> JoinGroup(const WorkerSettings& settings, const Terms& terms,
                                      const std::function<void()>& alive) {
  if (settings.ranks == 1) return JoinedGroup{SingleProcess(), settings.epoch};
  if (settings.over_tcp()) return JoinOverTcp(settings, terms, alive);
  SL_ASSIGN_OR_RETURN(auto group, ShmGroup::Attach(settings.group_fd, {.rank = settings.rank,
                                                                       .size = settings.ranks,
                                                                       .epoch = settings.epoch,
                                                                       .limit = kWhileLoading}));
  return JoinedGroup{std::move(group), settings.epoch};
}

}  // namespace shardline
