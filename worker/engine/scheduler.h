// Decides what the next step computes: decode rows first, then prompt chunks, within the token
// budget and the KV blocks at hand.
//
// Sequences are ranked by arrival. Whoever needs a block that is not free takes it from the
// youngest: that one gives up all it holds and later computes its tokens again. So the oldest
// always finishes. A paused sequence keeps what it holds and is taken from only when the oldest
// cannot go on otherwise.
//
// A request's outputs are sequences of their own. The first computes the prompt; the others wait
// until the blocks that they can share are filled, and start from there.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "worker/engine/kv_blocks.h"
#include "worker/engine/sequence.h"

namespace shardline {

struct SchedulerLimits {
  int32_t max_sequences = 256;
  int64_t max_batch_tokens = 2048;
};

class Scheduler {
 public:
  Scheduler(const SchedulerLimits& limits, KvBlocks blocks);

  void Add(std::unique_ptr<Sequence> sequence);  // the youngest of all
  // A request's live outputs, in order; empty: none.
  std::vector<Sequence*> Outputs(RequestKey key) const;
  // Takes slot and blocks from a sequence, which waits for new ones and computes its tokens again.
  void Release(Sequence& sequence);
  // Frees the slots and blocks of ended sequences and forgets them.
  void RemoveEnded();

  // The rows of the next step; block updates are appended. Empty: nothing can run.
  std::vector<Chunk> Schedule(uint64_t step, std::vector<BlockUpdate>& updates);

  const std::vector<std::unique_ptr<Sequence>>& sequences() const { return sequences_; }
  const KvBlocks& blocks() const { return blocks_; }
  int64_t running() const { return limits_.max_sequences - static_cast<int64_t>(slots_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(sequences_.size()) - running(); }
  uint64_t preemptions() const { return preemptions_; }
  bool anything_runnable() const;

 private:
  void GrowRunning(std::vector<BlockUpdate>& updates);
  void Admit(uint64_t step, std::vector<BlockUpdate>& updates);
  const Sequence* PromptHolder(const Sequence& sequence) const;
  bool AwaitsPrompt(const Sequence& sequence, const Sequence* holder) const;
  bool MakeRoomFrom(bool paused, const Sequence& needy);
  Sequence* YoungestRunning(bool paused);
  int64_t runnable_running() const;

  SchedulerLimits limits_;
  KvBlocks blocks_;
  std::vector<int32_t> slots_;                        // free ones
  std::vector<std::unique_ptr<Sequence>> sequences_;  // by arrival
  uint64_t arrivals_ = 0;
  uint64_t preemptions_ = 0;
};

// Splits the token budget of one step among sequences that hold slots. `decodes` and `prefills` by
// arrival.
std::vector<Chunk> ShareBudget(int64_t budget, uint64_t step, std::vector<Sequence*> decodes,
                               std::vector<Sequence*> prefills);

}  // namespace shardline
