// From the names that layers give their weights to the names in a checkpoint, as data: one table
// per family and format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace shardline {

// What happens to a tensor's rows on their way into a slot.
enum class RowOrder : uint8_t {
  kAsStored,
  // GGUF's converter stores the rows of a head interleaved, for a rotation of pairs (2i, 2i + 1):
  // stored row 2i is row i, row 2i + 1 is row i + head_dim / 2. Put back here, so that a model
  // rotates halves and gives the same bits whichever format it came from.
  kInterleavedHeads,
};

// How the rows of parts of a product stand in a tensor that holds several of them.
enum class Fusion : uint8_t {
  kStacked,  // one part below the other, in the product's order
  kByGroup,  // by key-value head: its queries' rows, its key's, its value's
  // By expert or head, whose slots are products of their own: see ExpertPlace. Of `joined` alone.
  kByExpert,
  kByExpertTransposed,  // and the tensor's rows are the slot's columns
};

// "*" stands for a number, the block's or a head's. Weight and bias of a slot follow one rule: slot
// "*.attn.q" with tensor "blk.*.attn_q" maps "3.attn.q.weight" to "blk.3.attn_q.weight". Slots of
// one product may share a tensor. A rule whose slot ends with ".weight" or ".bias" gives the whole
// name of that one's tensor.
// In the name of an expert's tensor "#" stands for the expert's number; without one the tensor
// holds all experts, [experts, out, in].
struct NameRule {
  std::string slot;
  std::string tensor;
  RowOrder order = RowOrder::kAsStored;
  // Where a file has no such tensor, or `tensor` is empty: one that holds several slots, or has
  // another name. Empty: there is none.
  std::string joined = {};
  Fusion fusion = Fusion::kStacked;
};

struct NameTable {
  std::vector<NameRule> rules;
  // Tensors that may be there and are not read: "*" as above, and a name that ends with "**" stands
  // for all that begin with what is before it.
  std::vector<std::string> ignored;
  int64_t first_block = 0;  // the first block's number in tensors' names
};

// The rule of `rule.slot` becomes `rule`.
void SetRule(NameTable& table, NameRule rule);

struct MappedName {
  std::string tensor;  // empty: no rule
  RowOrder order = RowOrder::kAsStored;
  std::string joined = {};
  Fusion fusion = Fusion::kStacked;
  bool one_expert = false, joined_one_expert = false;  // else all in one tensor, if there are any
};
MappedName MapName(const NameTable& table, std::string_view slot, int64_t expert = 0);
bool IsIgnored(const NameTable& table, std::string_view tensor);

// Names in one line, in order, those that differ only in a number together:
// {"a.0.x", "a.1.x", "b"} -> "a.{0-1}.x, b".
std::string FoldNames(const std::vector<std::string>& names);

}  // namespace shardline
