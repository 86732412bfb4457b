// What a model's layers need from a checkpoint: named slots on named axes, gathered before anything
// is read. The loader fills what the plan points to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/packed.h"
#include "kernels/view.h"
#include "worker/parallel/axis.h"

namespace shardline {

// What a vector's numbers are before a layer multiplies with them.
enum class VectorForm : uint8_t {
  kRounded,  // rounded to the model's type
  kPlusOne,  // the same, and one added afterwards: a norm weight stored as its distance from one
  kExact,    // as stored: a norm weight to which the file's writer has added one
  kNegExp,   // -e^x of what is stored, unrounded: Mamba's A_log
};

// Which of several experts (or heads, where each has a matrix of its own) a tensor belongs to.
struct ExpertPlace {
  int64_t index = 0;
  int64_t count = 0;  // 0: to none
  // In a tensor that holds other slots of them too: how many rows each has, and where this slot's
  // begin among them.
  int64_t rows = 0, first = 0;
  bool elsewhere = false;  // another rank has it
};

// One tensor of the model as its layer names it.
struct WeightSlot {
  std::string name;                        // "3.attn.q.weight"
  std::vector<Axis> axes;                  // outermost first: [out, in], or [out]; a vector's more
  int64_t head_dim = 0;                    // rows of one head, where the rows belong to heads
  VectorForm form = VectorForm::kRounded;  // of a vector
  ExpertPlace expert = {};

  // Elements of a row; and all on this rank.
  int64_t width() const {
    int64_t n = 1;
    for (size_t i = 1; i < axes.size(); ++i) n *= axes[i].local();
    return n;
  }
  int64_t elements() const { return axes[0].local() * width(); }
};

// Several slots stand one below the other: {q, k, v} of one input are one product.
// Sizes are those of this rank's parts.
struct MatrixTarget {
  std::vector<WeightSlot> parts;
  Packed* packed;
  bool in_f32 = false;  // whatever the model's type is

  int64_t rows() const {
    int64_t n = 0;
    for (const WeightSlot& part : parts) n += part.axes[0].local();
    return n;
  }
  int64_t cols() const { return parts[0].axes[1].local(); }
};
struct VectorTarget {
  std::vector<WeightSlot> parts;
  View* view;  // [size] f32

  int64_t size() const {
    int64_t n = 0;
    for (const WeightSlot& part : parts) n += part.elements();
    return n;
  }
};

struct WeightPlan {
  Split split;
  std::vector<MatrixTarget> matrices;
  std::vector<VectorTarget> vectors;
  // Of experts (and heads) that other ranks have: checked and counted by every rank, not loaded.
  std::vector<std::vector<WeightSlot>> elsewhere;
  bool whole_experts = false;  // experts are dealt out to the ranks, instead of each being cut
  std::vector<std::string> problems;  // of what cannot be cut for so many ranks

  // The axis with this rank's part of it. What cannot be cut stays whole and is a problem.
  Axis Cut(Axis axis) {
    const absl::StatusOr<AxisRange> part = CutAxis(axis, split.rank, split.ranks);
    if (!part.ok()) {
      AddProblem(part.status());
    } else if (axis.granule > 0 && split.ranks > 1) {
      axis.part = *part;
    }
    return axis;
  }
  void AddProblem(const absl::Status& status) {
    std::string text = Message(status);
    if (std::find(problems.begin(), problems.end(), text) == problems.end()) {
      problems.push_back(std::move(text));
    }
  }

  void Matrix(Packed* packed, std::vector<WeightSlot> parts) {
    if (parts[0].expert.elsewhere) return elsewhere.push_back(std::move(parts));
    matrices.push_back({.parts = std::move(parts), .packed = packed});
  }
  void Vector(View* view, std::vector<WeightSlot> parts) {
    vectors.push_back({std::move(parts), view});
  }
};

}  // namespace shardline
