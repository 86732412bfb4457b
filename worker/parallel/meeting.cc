#include "worker/parallel/meeting.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "shared/base/clock.h"
#include "shared/base/tcp_address.h"

namespace shardline {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kFlag = "--rendezvous";
constexpr milliseconds kLook{50};   // how often the store is looked at
constexpr milliseconds kShow{200};  // how often a rank shows itself
constexpr seconds kGone{3};         // who has not shown itself for so long

// Keys
constexpr const char *kTerms = "terms", *kDifference = "difference", *kGo = "go";
std::string KeyOf(int rank) { return Cat("here/", rank); }

std::vector<std::string> Split(std::string_view text, char by) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(by, at), text.size());
    parts.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// The talk with the store. It may hang there, so it has a thread of its own that is left behind if
// need be, and this is all that it and the caller share.
class Talk {
 public:
  explicit Talk(const MeetingOptions& options)
      : options_(options), own_(Cat(std::random_device{}(), std::random_device{}())) {
    options_.waiting = nullptr;  // the caller's
    Say("");
  }
  ~Talk() {
    if (options_.listen_fd >= 0) close(options_.listen_fd);
  }

  void Run() {
    auto met = options_.rank == 0 ? Lead() : Follow();
    std::lock_guard lock(mutex_);
    result_ = std::move(met);
    changed_.notify_all();
  }

  // The result within that time, if there is one then; else what is waited for.
  std::optional<absl::StatusOr<Met>> Result(milliseconds within, std::string& what) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, within, [&] { return result_.has_value(); });
    what = what_;
    if (!result_.has_value() && Clock::now() - said_ > options_.patience) {
      left_behind_ = true;
      return absl::StatusOr<Met>(Unavailable(Where(), " has stopped answering"));
    }
    return result_;
  }

 private:
  std::string Where() const { return Cat(kFlag, " ", Place()); }
  std::string Place() const { return Cat(options_.host, ":", options_.port); }

  void Say(std::string what) {
    std::lock_guard lock(mutex_);
    what_ = std::move(what), said_ = Clock::now();
  }

  absl::StatusOr<std::shared_ptr<GlooStore>> Open() {
    return GlooStore::Open(options_.host, options_.port, std::exchange(options_.listen_fd, -1),
                           options_.patience);
  }

  // ---- rank 0

  struct Other {
    std::string shown;  // "NUMBER BEAT"
    Clock::time_point at;
    bool here() const { return !shown.empty() && Clock::now() - at < kGone; }
  };

  absl::StatusOr<Met> Lead() {
    SL_ASSIGN_OR_RETURN(const std::shared_ptr<GlooStore> store, Open());
    SL_RETURN_IF_ERROR(store->Set(kTerms, Encode(options_.terms)));
    std::vector<Other> others(options_.size);
    for (;;) {
      SL_RETURN_IF_ERROR(LookAround(*store, others));
      std::vector<int> missing;
      for (int rank = 1; rank < options_.size; ++rank) {
        if (!others[rank].here()) missing.push_back(rank);
      }
      if (missing.empty()) break;
      Say(Cat(RanksText(missing), " at ", Place()));
      std::this_thread::sleep_for(kLook);
    }
    std::string go = Cat(options_.epoch, " ", own_);
    for (int rank = 1; rank < options_.size; ++rank) {
      go += Cat(" ", Split(others[rank].shown, ' ')[0]);
    }
    SL_RETURN_IF_ERROR(store->Set(kGo, go));
    return Met{store, options_.epoch};
  }

  absl::Status LookAround(GlooStore& store, std::vector<Other>& others) {
    SL_ASSIGN_OR_RETURN(const auto difference, store.Get(kDifference));
    if (difference.has_value()) return InvalidArgument(*difference);
    for (int rank = 1; rank < options_.size; ++rank) {
      SL_ASSIGN_OR_RETURN(const auto shown, store.Get(KeyOf(rank)));
      if (shown.has_value() && *shown != others[rank].shown) {
        others[rank] = {*shown, Clock::now()};
      }
    }
    return absl::OkStatus();
  }

  // ---- the others

  absl::StatusOr<Met> Follow() {
    std::string why;
    for (;;) {
      Say(Cat("node 0 at ", Place(), why));
      // A name that is unknown may be known when its host is there.
      auto met = Look();
      if (met.ok() || absl::IsInvalidArgument(met.status())) return met;
      if (left_behind_) return met;
      why = absl::IsNotFound(met.status()) ? Cat(" (", Message(met.status()), ")") : "";
      std::this_thread::sleep_for(kShow);
    }
  }

  absl::StatusOr<Met> Look() {
    const auto reached =
        AddressTowards(options_.host, options_.port, DeadlineAfter(seconds(1)), "");
    if (absl::IsInvalidArgument(reached.status())) return NotFound(Message(reached.status()));
    SL_RETURN_IF_ERROR(reached.status());
    SL_ASSIGN_OR_RETURN(const std::shared_ptr<GlooStore> store, Open());
    SL_RETURN_IF_ERROR(Compare(*store));
    std::string rival;  // what another process last showed as this rank
    for (uint64_t beat = 0;; ++beat) {
      SL_ASSIGN_OR_RETURN(const auto shown, store->Get(KeyOf(options_.rank)));
      std::string twice;
      if (shown.has_value() && !shown->starts_with(Cat(own_, " "))) {
        // One that is gone shows the same for ever.
        if (!rival.empty() && *shown != rival) {
          twice = Cat("; another process is rank ", options_.rank,
                      " too: give each node a --node-rank of its own");
        }
        rival = *shown;
      }
      SL_RETURN_IF_ERROR(store->Set(KeyOf(options_.rank), Cat(own_, " ", beat)));
      for (milliseconds waited{0}; waited < kShow; waited += kLook) {
        SL_ASSIGN_OR_RETURN(const auto go, store->Get(kGo));
        if (go.has_value()) {
          const std::vector<std::string> words = Split(*go, ' ');
          if (words.size() == options_.size + size_t{1} && words[options_.rank + 1] == own_) {
            uint64_t epoch = 0;
            const auto read =
                std::from_chars(words[0].data(), words[0].data() + words[0].size(), epoch);
            if (read.ec != std::errc()) return Unavailable("the store has no epoch");
            return Met{store, epoch};
          }
        }
        // Without this rank: it takes part in the next start.
        Say(Cat(go.has_value() ? "the next start of node 0" : "the other ranks", " at ", Place(),
                twice));
        std::this_thread::sleep_for(kLook);
      }
    }
  }

  absl::Status Compare(GlooStore& store) {
    SL_ASSIGN_OR_RETURN(const auto terms, store.Get(kTerms));
    if (!terms.has_value()) return Unavailable("rank 0 has only begun");
    const std::string difference = DifferenceFrom(*terms, options_.terms, options_.node);
    if (difference.empty()) return absl::OkStatus();
    if (!options_.speaks) return Unavailable(difference);
    SL_RETURN_IF_ERROR(store.Set(kDifference, difference));
    return InvalidArgument(difference);
  }

  MeetingOptions options_;
  const std::string own_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string what_;
  Clock::time_point said_;
  std::atomic<bool> left_behind_{false};
  std::optional<absl::StatusOr<Met>> result_;
};

}  // namespace

std::string Encode(const Terms& terms) {
  std::string text;
  for (const auto& [name, value] : terms) text += Cat(name, "\t", value, "\n");
  return text;
}

std::string DifferenceFrom(std::string_view encoded, const Terms& own, int node) {
  const auto differ = [&](const std::string& name, const std::string& theirs,
                          const std::string& ours) {
    return Cat(name, " is ", theirs, " on node 0 and ", ours, " on node ", node);
  };
  const std::vector<std::string> lines = Split(encoded, '\n');
  for (size_t i = 0; i < std::max(lines.size(), own.size()); ++i) {
    if (i >= own.size() || i >= lines.size()) return differ("the program", "another", "this");
    const auto& [name, value] = own[i];
    const size_t tab = std::min(lines[i].find('\t'), lines[i].size());
    if (lines[i].substr(0, tab) != name) return differ("the program", "another", "this");
    const std::string theirs = lines[i].substr(std::min(tab + 1, lines[i].size()));
    if (theirs != value) return differ(name, theirs, value);
  }
  return "";
}

std::string RanksText(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += Cat(text.empty() ? "" : ", ", ranks[i]);
    if (last > i) text += Cat("-", ranks[last]);
    i = last + 1;
  }
  return Cat(ranks.size() == 1 ? "rank " : "ranks ", text);
}

absl::StatusOr<Met> Meet(const MeetingOptions& options) {
  const auto talk = std::make_shared<Talk>(options);
  std::thread([talk] { talk->Run(); }).detach();
  for (;;) {
    std::string what;
    if (auto result = talk->Result(milliseconds(200), what)) return *std::move(result);
    if (options.waiting) options.waiting(what);
  }
}

}  // namespace shardline
