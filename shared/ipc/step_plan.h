// What one step computes, decided by rank 0 and replayed by every rank: flat, no pointers.
#pragma once

#include <cstdint>
#include <vector>

namespace shardline {

enum class RowForm : uint8_t {
  kPrompt = 0,  // prompt tokens
  kDecode = 1,  // emitted tokens, one after the other (also when they are replayed)
};

// Consecutive tokens of one sequence. Prefill, decode and prompt logprobs are all this row.
struct PlanRow {
  uint32_t slot;           // sequence slot
  int32_t first_position;  // absolute position of the row's first token
  int32_t token_count;     // >= 1
  uint32_t first_token;    // index into StepPlan::tokens
  uint32_t first_wanted;   // index into StepPlan::wanted
  uint32_t wanted_count;   // how many of the row's tokens need logits
  uint32_t prompt_tokens;  // length of the sequence's prompt
  uint32_t adapter_slot;   // 0: none
  uint32_t mask_slot;      // 0: none
  RowForm form;
  uint8_t reserved[3];
};

// From this step on, position range [index * block_tokens, …) of `slot` in `group` is in `block`;
// in a recurrent group, where index is 0, all that is kept of the sequence. Updates are applied in
// order.
struct BlockUpdate {
  uint32_t slot;
  uint32_t group;
  uint32_t index;
  int32_t block;
  int32_t copy_of = -1;  // a block whose contents `block` starts with; -1: none
};

struct StepPlan {
  uint64_t step = 0;
  std::vector<PlanRow> rows;
  std::vector<uint32_t> tokens;  // token ids of all rows, row by row
  std::vector<uint32_t>
      wanted;  // indices into `tokens`, ascending within a row: logits row i is wanted[i]
  std::vector<BlockUpdate> blocks;

  void Clear() {
    rows.clear();
    tokens.clear();
    wanted.clear();
    blocks.clear();
  }
};

}  // namespace shardline
