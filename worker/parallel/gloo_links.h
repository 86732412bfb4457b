// One connection of this rank to every other, over TCP, made by libtorch's c10d (TCPStore to meet,
// ProcessGroupGloo to carry bytes). What c10d throws stays behind this border.
//
// Of gloo only messages between two ranks are used. Its own all-reduce adds in an order that
// depends on sizes and ranks, and a wait of its own that is late closes every connection before
// anybody can say why; see GlooGroup.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "shared/base/status.h"
#include "worker/parallel/gloo_store.h"

namespace shardline {

struct GlooGroupOptions {
  std::string
      host;  // where the ranks meet: a name or an address; rank 0 listens there and only there
  int port = 0;
  // Rank 0: a socket that already listens at host:port, taken over. -1: it opens one.
  int listen_fd = -1;
  // Where the ranks have met already (worker/parallel/meeting.h). Null: at host:port.
  std::shared_ptr<GlooStore> store;
  // This rank's own address or host name, by which the others reach it. Empty: the one from which
  // it reaches `host`.
  std::string address;
  int rank = 0;
  int size = 1;
  uint64_t epoch = 0;  // of this start of the group; ranks of another never meet these
  std::chrono::milliseconds limit = std::chrono::seconds(30);  // of joining, and of one wait
};

// A message on its way. Its memory stays until Wait has returned or the message is destroyed.
class GlooMessage {
 public:
  virtual ~GlooMessage() = default;
  // Errors: Cancelled; Unavailable (the connection is lost).
  virtual absl::Status Wait() = 0;
  // Ends Wait, now or when it is called. From any thread.
  virtual void Cancel() = 0;
};

class GlooLinks {
 public:
  static constexpr int kAnyRank = -1;

  // Waits for all ranks. Errors: InvalidArgument, FailedPrecondition (the rank is taken),
  // DeadlineExceeded naming who is missing, Unavailable.
  static absl::StatusOr<std::unique_ptr<GlooLinks>> Connect(const GlooGroupOptions& options);
  virtual ~GlooLinks() = default;

  // Messages of one lane between two ranks arrive in order. `bytes` of Receive is the most that may
  // come; a longer message ends the process. From any thread. Error: Unavailable.
  virtual absl::StatusOr<std::unique_ptr<GlooMessage>> Send(int to, int lane, const void* data,
                                                            size_t bytes) = 0;
  virtual absl::StatusOr<std::unique_ptr<GlooMessage>> Receive(int from, int lane, void* data,
                                                               size_t bytes) = 0;
};

}  // namespace shardline
