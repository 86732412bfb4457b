// What a model's layers need from a checkpoint: named slots on named axes, gathered before anything
// is read. The loader fills what the plan points to.
#pragma once

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

// Which of several experts a tensor belongs to.
struct ExpertPlace {
  int64_t index = 0;
  int64_t count = 0;  // 0: to none
};

// One tensor of the model as its layer names it.
struct WeightSlot {
  std::string name;                        // "3.attn.q.weight"
  std::vector<Axis> axes;                  // outermost first: [out, in], or [out]; a vector's more
  int64_t head_dim = 0;                    // rows of one head, where the rows belong to heads
  VectorForm form = VectorForm::kRounded;  // of a vector
  ExpertPlace expert = {};

  int64_t elements() const {
    int64_t n = 1;
    for (const Axis& axis : axes) n *= axis.size;
    return n;
  }
};

// Several slots stand one below the other: {q, k, v} of one input are one product.
struct MatrixTarget {
  std::vector<WeightSlot> parts;
  Packed* packed;

  int64_t rows() const {
    int64_t n = 0;
    for (const WeightSlot& part : parts) n += part.axes[0].size;
    return n;
  }
  int64_t cols() const { return parts[0].axes[1].size; }
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
  std::vector<MatrixTarget> matrices;
  std::vector<VectorTarget> vectors;

  void Matrix(Packed* packed, std::vector<WeightSlot> parts) {
    matrices.push_back({std::move(parts), packed});
  }
  void Vector(View* view, std::vector<WeightSlot> parts) {
    vectors.push_back({std::move(parts), view});
  }
};

}  // namespace shardline
