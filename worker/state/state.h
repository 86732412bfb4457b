// The sequences' state on one rank: pools of blocks and block tables, by group. A group is the
// layers whose states have one shape and one life: full attention, a window, or a recurrence. A
// block of attention holds keys and values of kBlockTokens positions; a block of a recurrent group
// holds all that its layers keep of one sequence, whatever its length. Which block belongs to whom
// is decided by rank 0's scheduler and arrives in the step plan; this class only stores.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/ops.h"
#include "kernels/view.h"
#include "shared/base/status.h"
#include "shared/ipc/step_plan.h"

namespace shardline {

inline constexpr int kBlockTokens = 16;

// One of the arrays that a recurrent layer keeps of a sequence: [rows, cols].
struct StatePart {
  DType type = DType::kF32;
  int64_t rows = 0, cols = 0;

  size_t bytes() const { return static_cast<size_t>(rows * cols) * SizeOf(type); }
  bool operator==(const StatePart&) const = default;
};

// Declared by the model's layers.
struct StateGroup {
  int layers = 0;
  int kv_heads = 0;      // on this rank
  int all_kv_heads = 0;  // on all ranks: these tell groups apart, so that ranks have the same ones
  int head_dim = 0;
  DType type = DType::kF32;
  int64_t window = 0;  // 0: full attention
  // > 0: values are the first so many columns of the keys, and have no memory of their own.
  int shared_values = 0;
  std::vector<StatePart> parts;  // of a recurrent layer, which has none of the above but `layers`

  bool recurrent() const { return !parts.empty(); }
  // What one block takes in each of a layer's arrays: keys and values, or the recurrent parts.
  std::vector<size_t> array_bytes() const {
    std::vector<size_t> bytes;
    for (const StatePart& part : parts) bytes.push_back(part.bytes());
    if (recurrent()) return bytes;
    bytes.assign(shared_values > 0 ? 1 : 2,
                 size_t{1} * kv_heads * head_dim * kBlockTokens * SizeOf(type));
    return bytes;
  }
  // One block in all layers.
  size_t block_bytes() const {
    size_t sum = 0;
    for (const size_t bytes : array_bytes()) sum += bytes;
    return sum * layers;
  }
};

class StateStorage {
 public:
  // Memory is reserved here. The blocks that are used first get their pages at once, the others
  // from a thread that runs when nothing else wants to: fresh memory can be slow, and a start
  // should not wait for all of it. Errors: ResourceExhausted naming --kv-cache-bytes.
  static absl::StatusOr<std::unique_ptr<StateStorage>> Create(std::vector<StateGroup> groups,
                                                              std::vector<int32_t> blocks_per_group,
                                                              int max_sequences,
                                                              int64_t max_context);
  ~StateStorage();

  // Whether slots, groups and blocks of the updates exist here; of a plan, its rows' slots as well.
  bool Fits(const std::vector<BlockUpdate>& updates) const;
  bool Fits(const StepPlan& plan) const;
  void Apply(const std::vector<BlockUpdate>& updates);  // which fit
  // [blocks, kv_heads, kBlockTokens, head_dim] of layer `layer` within its group; shared values are
  // columns of the keys.
  KvPages pages(int group, int layer) const;
  // [blocks, rows, cols] of one part of a recurrent group's layer. What a block holds when it is
  // first taken is undefined: at position 0 a layer starts from zeros of its own.
  View part(int group, int layer, int part) const;
  // Block table of `slot`: entry i holds positions [i * kBlockTokens, (i + 1) * kBlockTokens); of a
  // recurrent group there is one entry.
  const int32_t* blocks(int group, uint32_t slot) const;

 private:
  StateStorage() = default;
  struct Group;
  void PopulateAll();
  // Backs blocks from `first` on, about `bytes` of them, with pages; returns the next block, -1
  // after the last.
  int64_t Populate(int64_t first, size_t bytes, const std::stop_token& stop) const;

  std::vector<Group> groups_;
  std::jthread populating_;  // last: it uses the groups
};

}  // namespace shardline
