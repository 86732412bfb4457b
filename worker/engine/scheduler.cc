#include "worker/engine/scheduler.h"

#include <algorithm>

namespace shardline {
namespace {

uint64_t Turn(uint64_t step, size_t row) { return (step << 20) + row; }

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, KvBlocks blocks)
    : limits_(limits), blocks_(std::move(blocks)) {
  for (int32_t slot = limits.max_sequences; slot-- > 0;) slots_.push_back(slot);
}

void Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  sequence->arrival = ++arrivals_;
  sequences_.push_back(std::move(sequence));
}

std::vector<Sequence*> Scheduler::Outputs(RequestKey key) const {
  std::vector<Sequence*> outputs;
  for (const auto& sequence : sequences_) {
    if (sequence->header.key == key && !sequence->ended) outputs.push_back(sequence.get());
  }
  return outputs;
}

void Scheduler::RemoveEnded() {
  for (const auto& sequence : sequences_) {
    if (sequence->ended) Release(*sequence);
  }
  std::erase_if(sequences_, [](const auto& sequence) { return sequence->ended; });
}

void Scheduler::Release(Sequence& sequence) {
  if (sequence.slot == kNoSlot) return;
  blocks_.Release(sequence);
  slots_.push_back(sequence.slot);
  sequence.slot = kNoSlot;
  sequence.computed = 0;
}

bool Scheduler::anything_runnable() const {
  return std::any_of(sequences_.begin(), sequences_.end(),
                     [](const auto& sequence) { return sequence->runnable(); });
}

int64_t Scheduler::runnable_running() const {
  return std::count_if(sequences_.begin(), sequences_.end(), [](const auto& sequence) {
    return sequence->runnable() && sequence->slot != kNoSlot;
  });
}

Sequence* Scheduler::YoungestRunning(bool paused) {
  for (size_t i = sequences_.size(); i-- > 0;) {
    Sequence& sequence = *sequences_[i];
    if (sequence.slot != kNoSlot && !sequence.ended && sequence.paused == paused) return &sequence;
  }
  return nullptr;
}

// Preempts the youngest running sequence of that kind other than `needy`; false if there is none.
bool Scheduler::MakeRoomFrom(bool paused, const Sequence& needy) {
  Sequence* victim = YoungestRunning(paused);
  if (victim == nullptr || victim == &needy) return false;
  Release(*victim);
  ++preemptions_;
  return true;
}

std::vector<Chunk> Scheduler::Schedule(uint64_t step, std::vector<BlockUpdate>& updates) {
  GrowRunning(updates);
  Admit(step, updates);
  std::vector<Sequence*> decodes, prefills;
  for (const auto& sequence : sequences_) {
    if (sequence->slot == kNoSlot || !sequence->runnable()) continue;
    (sequence->in_prompt() || sequence->remaining() > 1 ? prefills : decodes)
        .push_back(sequence.get());
  }
  return ShareBudget(limits_.max_batch_tokens, step, std::move(decodes), std::move(prefills));
}

// Blocks for each running sequence's next positions, oldest first.
void Scheduler::GrowRunning(std::vector<BlockUpdate>& updates) {
  for (const auto& owned : sequences_) {
    Sequence& sequence = *owned;
    if (sequence.slot == kNoSlot || !sequence.runnable()) continue;
    while (!blocks_.Grow(sequence, sequence.target(), updates)) {
      if (MakeRoomFrom(false, sequence)) continue;
      // The youngest that runs is the one in need. It yields to its elders, or, alone, takes from
      // the paused.
      if (runnable_running() == 1 && MakeRoomFrom(true, sequence)) continue;
      Release(sequence);
      ++preemptions_;
      break;
    }
  }
}

// Another output of the request that has computed all that they share and still holds what a window
// leaves of it; null: none.
const Sequence* Scheduler::PromptHolder(const Sequence& sequence) const {
  if (sequence.shared_tokens == 0) return nullptr;
  for (const auto& other : sequences_) {
    if (other->header.key == sequence.header.key && other.get() != &sequence && !other->ended &&
        other->slot != kNoSlot && other->computed >= sequence.shared_tokens &&
        blocks_.Holds(*other, sequence.shared_tokens)) {
      return other.get();
    }
  }
  return nullptr;
}

// Whether the sequence should wait for another output of its request: one that is computing what
// they share, where nobody has it yet, or that has still to tell the prompt's log-probabilities,
// which come before any output's tokens.
bool Scheduler::AwaitsPrompt(const Sequence& sequence, const Sequence* holder) const {
  if (sequence.header.outputs == 1) return false;
  for (const auto& other : sequences_) {
    if (other->header.key != sequence.header.key || other.get() == &sequence || other->ended)
      continue;
    if (other->prompt_sent >= 0 && other->prompt_sent < other->prompt_tokens) return true;
    if (holder == nullptr && other->slot != kNoSlot && other->computed < sequence.shared_tokens)
      return true;
  }
  return false;
}

// Waiting sequences in order of arrival, as long as slots and blocks last. All blocks of the tokens
// so far are taken at once; one more for each sequence that runs stays free, or the newcomer would
// soon be put out again.
void Scheduler::Admit(uint64_t step, std::vector<BlockUpdate>& updates) {
  for (const auto& owned : sequences_) {
    Sequence& sequence = *owned;
    if (sequence.slot != kNoSlot || !sequence.runnable()) continue;
    const Sequence* holder = PromptHolder(sequence);
    if (AwaitsPrompt(sequence, holder)) continue;
    const int64_t shared = holder == nullptr ? 0 : sequence.shared_tokens;
    const int64_t running = runnable_running();
    while (slots_.empty() || !blocks_.Fits(sequence.target(), shared, running)) {
      if (running > 0 || !MakeRoomFrom(true, sequence)) return;
    }
    sequence.slot = slots_.back();
    slots_.pop_back();
    sequence.last_turn = Turn(step, 0);  // behind those that are already being served
    if (holder != nullptr) {
      blocks_.Share(sequence, *holder, shared, updates);
      sequence.computed = shared;
    }
    blocks_.Grow(sequence, sequence.target(), updates);
  }
}

namespace {

// A prompt chunk is not worth a row below this, if there are several to choose from.
constexpr int64_t kSmallChunk = 32;

// The `n` that have waited longest for a row.
void KeepLongestUnserved(std::vector<Sequence*>& sequences, size_t n) {
  if (sequences.size() <= n) return;
  std::stable_sort(sequences.begin(), sequences.end(), [](const Sequence* a, const Sequence* b) {
    return a->last_turn < b->last_turn;
  });
  sequences.resize(n);
}

int64_t ChunkLimit(const Sequence& sequence) {
  int64_t end = sequence.target();
  if (sequence.in_prompt()) end = std::min(end, sequence.prompt_tokens);
  // The request's other outputs start where the shared blocks end.
  if (sequence.computed < sequence.shared_tokens) end = std::min(end, sequence.shared_tokens);
  return end - sequence.computed;
}

}  // namespace

std::vector<Chunk> ShareBudget(int64_t budget, uint64_t step, std::vector<Sequence*> decodes,
                               std::vector<Sequence*> prefills) {
  std::vector<Chunk> chunks;
  const auto add = [&](Sequence* sequence, int64_t count) {
    chunks.push_back({sequence, sequence->computed, count});
    sequence->last_turn = Turn(step, chunks.size());
    budget -= count;
  };
  // Where decode rows alone would fill the step, prompts keep an eighth of it (a budget of one:
  // every other).
  int64_t kept = prefills.empty() ? 0 : std::max<int64_t>(1, budget / 8);
  if (budget == 1 && !decodes.empty()) kept = prefills.empty() ? 0 : static_cast<int64_t>(step % 2);
  KeepLongestUnserved(decodes, static_cast<size_t>(budget - kept));
  for (Sequence* sequence : decodes) add(sequence, 1);
  if (budget == 0) return chunks;

  // Equal shares; what a short prompt leaves goes to the longer ones.
  KeepLongestUnserved(prefills, static_cast<size_t>(std::max<int64_t>(1, budget / kSmallChunk)));
  std::stable_sort(prefills.begin(), prefills.end(), [](const Sequence* a, const Sequence* b) {
    return ChunkLimit(*a) < ChunkLimit(*b);
  });
  for (size_t i = 0; i < prefills.size(); ++i) {
    const int64_t share = budget / static_cast<int64_t>(prefills.size() - i);
    add(prefills[i], std::min(share, ChunkLimit(*prefills[i])));
  }
  return chunks;
}

}  // namespace shardline
