// The ranks that share one replica of a model, and what they exchange. Layers call it where a
// product is cut along its inner dimension; with one rank every call is a no-op.
//
// Every rank makes the same calls in the same order with the same sizes, from one thread. A call
// ends within the group's limit even if a rank is dead, stopped or gone. After an error the group
// is of no more use: every later call returns an error too, on this rank and soon on all others.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "kernels/view.h"
#include "shared/base/status.h"

namespace shardline {

class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // data := the sum over ranks, added in rank order in f32 and rounded once: the same bits on every
  // rank, and for an element whatever lies around it. f32, bf16 or f16, contiguous.
  virtual absl::Status AllReduce(const View& data) = 0;
  // out := the ranks' `in`, one after the other. out has size() times the bytes of `in`; `in` may
  // be this rank's part of out.
  virtual absl::Status AllGather(const View& in, const View& out) = 0;
  // data := rank `root`'s data.
  virtual absl::Status Broadcast(const View& data, int root) = 0;
  // Returns when every rank has called it.
  virtual absl::Status Barrier() = 0;
  // How long one wait for the other ranks may last from the next call on.
  virtual void SetLimit(std::chrono::nanoseconds limit) = 0;
  // Ends the group on all ranks; their calls, also those that wait, return Unavailable with
  // `reason` where it reaches them. From any thread.
  virtual void Abort(std::string_view reason) = 0;
};

// A group of this process alone.
std::unique_ptr<ProcessGroup> SingleProcess();

}  // namespace shardline
