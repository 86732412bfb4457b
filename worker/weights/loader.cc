// Widens, reorders and packs weights, several matrices at a time.
#include "worker/weights/loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>

#include "worker/weights/resolve.h"

namespace shardline {
namespace {

constexpr size_t kAlignment = 64;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Which stored row holds row `row` of the slot.
int64_t StoredRow(const Source& source, const WeightSlot& slot, int64_t row) {
  if (source.order == RowOrder::kInterleavedHeads) {
    const int64_t half = slot.head_dim / 2, within = row % slot.head_dim;
    row = row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
  }
  return row / source.run * source.stride + source.first + row % source.run;
}

// A slot whose columns are stored as rows; both are whole on every rank.
void WidenTransposed(const Source& source, const WeightSlot& slot, DType type, std::byte* out) {
  const int64_t rows = slot.axes[0].size, cols = slot.axes[1].size;
  const auto size = static_cast<int64_t>(SizeOf(type));
  std::vector<std::byte> column(rows * size);
  for (int64_t c = 0; c < cols; ++c) {
    source.tensor->Widen(source.first + c, 0, rows, type, column.data());
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(out + (r * cols + c) * size, column.data() + r * size, size);
    }
  }
}

// Elements [first, first + count) of a stored row. Quantised types are read by whole blocks.
void WidenPiece(const StoredTensor& tensor, int64_t row, int64_t first, int64_t count, DType type,
                std::byte* out, std::vector<std::byte>& blocks) {
  const int64_t block = BlockOf(tensor.type).elements;
  const int64_t begin = first / block * block, end = (first + count + block - 1) / block * block;
  if (begin == first && end == first + count) return tensor.Widen(row, first, count, type, out);
  blocks.resize((end - begin) * SizeOf(type));
  tensor.Widen(row, begin, end - begin, type, blocks.data());
  std::memcpy(out, blocks.data() + (first - begin) * SizeOf(type), count * SizeOf(type));
}

// This rank's rows and columns of the slot in its own order, one below the other at `out`.
void WidenMatrix(const Source& source, const WeightSlot& slot, DType type, std::byte* out) {
  const Axis &rows = slot.axes[0], &cols = slot.axes[1];
  if (source.transposed) return WidenTransposed(source, slot, type, out);
  std::vector<std::byte> blocks;
  for (int64_t i = 0; i < rows.local(); ++i) {
    WidenPiece(*source.tensor, StoredRow(source, slot, rows.begin() + i), cols.begin(),
               cols.local(), type, out + i * cols.local() * SizeOf(type), blocks);
  }
}

float RoundTo(DType type, float x) {
  if (type == DType::kBF16) return WidenBf16(RoundToBf16(x));
  return type == DType::kF16 ? WidenF16(RoundToF16(x)) : x;
}

float InForm(VectorForm form, DType type, float x) {
  switch (form) {
    case VectorForm::kRounded:
      return RoundTo(type, x);
    case VectorForm::kPlusOne:
      return 1.0f + RoundTo(type, x);
    case VectorForm::kExact:
      return x;
    case VectorForm::kNegExp:
      return static_cast<float>(-std::exp(double{x}));
  }
  return x;
}

void WidenVector(const Source& source, const WeightSlot& slot, DType type, float* out) {
  const Axis& axis = slot.axes[0];
  const int64_t width = slot.width();
  const int64_t cols = source.tensor->cols();
  std::vector<float> stored(source.tensor->elements());
  for (int64_t r = 0; r < source.tensor->rows(); ++r) {
    source.tensor->Widen(r, 0, cols, DType::kF32, stored.data() + r * cols);
  }
  for (int64_t i = 0; i < axis.local(); ++i) {
    const float* row = stored.data() + StoredRow(source, slot, axis.begin() + i) * width;
    for (int64_t j = 0; j < width; ++j) *out++ = InForm(slot.form, type, row[j]);
  }
}

const std::byte* FirstRow(const Source& source, const WeightSlot& slot) {
  return source.tensor->Row(source.first + slot.axes[0].begin());
}

// A matrix that needs no widening, no joining, no reordering and no columns' cut is packed straight
// from the mapping.
bool IsPlain(const std::vector<Source>& parts, const WeightSlot& slot) {
  if (parts.size() != 1 || parts[0].order != RowOrder::kAsStored) return false;
  if (parts[0].transposed || parts[0].run != parts[0].stride || slot.axes[1].part) return false;
  const StoredType type = parts[0].tensor->type;
  const auto address = reinterpret_cast<uintptr_t>(FirstRow(parts[0], slot));
  return (type == StoredType::kF32 && address % 4 == 0) ||
         ((type == StoredType::kBF16 || type == StoredType::kF16) && address % 2 == 0);
}

DType PlainType(StoredType type) {
  if (type == StoredType::kF32) return DType::kF32;
  return type == StoredType::kBF16 ? DType::kBF16 : DType::kF16;
}

DType TypeOf(const MatrixTarget& target, DType type) { return target.in_f32 ? DType::kF32 : type; }

void PackMatrix(const MatrixTarget& target, const std::vector<Source>& parts,
                const LoadOptions& options, std::byte* memory, std::vector<std::byte>& staging) {
  const int64_t rows = target.rows(), cols = target.cols();
  const DType type = TypeOf(target, options.type);
  if (IsPlain(parts, target.parts[0])) {
    void* data = const_cast<std::byte*>(FirstRow(parts[0], target.parts[0]));
    options.ops->pack(View::Contiguous(data, PlainType(parts[0].tensor->type), {rows, cols}), type,
                      memory, target.packed);
    return;
  }
  staging.resize(rows * cols * SizeOf(type));
  std::byte* out = staging.data();
  for (size_t p = 0; p < parts.size(); ++p) {
    WidenMatrix(parts[p], target.parts[p], type, out);
    out += target.parts[p].axes[0].local() * cols * SizeOf(type);
  }
  options.ops->pack(View::Contiguous(staging.data(), type, {rows, cols}), type, memory,
                    target.packed);
}

void FillVector(const VectorTarget& target, const std::vector<Source>& parts, DType type,
                std::byte* memory) {
  *target.view = View::Contiguous(memory, DType::kF32, {target.size()});
  auto* out = reinterpret_cast<float*>(memory);
  for (size_t p = 0; p < parts.size(); ++p) {
    WidenVector(parts[p], target.parts[p], type, out);
    out += target.parts[p].elements();
  }
}

// Packs all matrices, the largest first, each thread taking the next one.
void PackAll(const WeightPlan& plan, const Sources& sources, const LoadOptions& options,
             const std::vector<std::byte*>& places) {
  std::vector<size_t> order(plan.matrices.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto size = [&](size_t i) { return plan.matrices[i].rows() * plan.matrices[i].cols(); };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return size(a) > size(b); });
  int64_t total = 1;
  for (size_t i : order) total += size(i);

  std::atomic<size_t> next{0};
  std::atomic<int64_t> done{0};
  const auto work = [&](int part, int) {
    std::vector<std::byte> staging;
    for (size_t n = next++; n < order.size(); n = next++) {
      const size_t i = order[n];
      PackMatrix(plan.matrices[i], sources.matrices[i], options, places[i], staging);
      done += size(i);
      if (part == 0 && options.progress) options.progress(static_cast<double>(done) / total);
    }
  };
  if (options.threads != nullptr) {
    options.threads->Run(work);
  } else {
    work(0, 1);
  }
}

}  // namespace

size_t PackedBytes(const MatrixTarget& target, const Ops& ops, DType type) {
  return ops.packed_bytes(TypeOf(target, type), target.rows(), target.cols());
}

WeightLayout LayOutWeights(const WeightPlan& plan, const Ops& ops, DType type) {
  WeightLayout layout;
  for (const MatrixTarget& target : plan.matrices) {
    layout.matrices.push_back(layout.bytes);
    layout.bytes += Aligned(PackedBytes(target, ops, type));
  }
  for (const VectorTarget& target : plan.vectors) {
    layout.vectors.push_back(layout.bytes);
    layout.bytes += Aligned(target.size() * sizeof(float));
  }
  return layout;
}

absl::StatusOr<MappedMemory> LoadWeights(const Checkpoint& checkpoint, const NameTable& names,
                                         const WeightPlan& plan, const LoadOptions& options) {
  SL_ASSIGN_OR_RETURN(const Sources sources, ResolveSources(checkpoint, names, plan));
  const WeightLayout layout = LayOutWeights(plan, *options.ops, options.type);
  SL_ASSIGN_OR_RETURN(MappedMemory memory, MappedMemory::Allocate(layout.bytes, "weights"));
  std::vector<std::byte*> places;
  for (const size_t offset : layout.matrices) places.push_back(memory.data() + offset);
  PackAll(plan, sources, options, places);
  for (size_t i = 0; i < plan.vectors.size(); ++i) {
    FillVector(plan.vectors[i], sources.vectors[i], options.type,
               memory.data() + layout.vectors[i]);
  }
  if (options.progress) options.progress(1.0);
  return memory;
}

}  // namespace shardline
