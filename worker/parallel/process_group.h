// The ranks that share one replica of a model, and what they exchange. Layers call it where a
// product is cut along its inner dimension; with one rank every call is a no-op.
#pragma once

#include <memory>

#include "kernels/view.h"
#include "shared/base/status.h"

namespace shardline {

class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // data := the sum over ranks, added in rank order in f32 and rounded once. f32 or bf16,
  // contiguous.
  virtual absl::Status AllReduce(const View& data) = 0;
  // out := the ranks' `in`, one after the other. out has size() times the bytes of `in`.
  virtual absl::Status AllGather(const View& in, const View& out) = 0;
  // data := rank `root`'s data.
  virtual absl::Status Broadcast(const View& data, int root) = 0;
  // Returns when every rank has called it.
  virtual absl::Status Barrier() = 0;
};

// A group of this process alone.
std::unique_ptr<ProcessGroup> SingleProcess();

}  // namespace shardline
