// Widens, reorders and packs weights, several matrices at a time.
#include "worker/weights/loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>

#include "worker/weights/k_quants.h"
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

// Elements [first, first + count) of a stored row. Quantised types are read by whole blocks.
void WidenPiece(const StoredTensor& tensor, int64_t row, int64_t first, int64_t count, DType type,
                std::byte* out) {
  const int64_t block = BlockOf(tensor.type).elements;
  const auto size = static_cast<int64_t>(SizeOf(type));
  while (count > 0) {
    const int64_t within = first % block;
    const bool whole = within == 0 && count >= block;
    const int64_t n = whole ? count / block * block : std::min(block - within, count);
    if (whole) {
      tensor.Widen(row, first, n, type, out);
    } else {
      alignas(float) std::byte widened[kSuperBlock * sizeof(float)];
      tensor.Widen(row, first - within, block, type, widened);
      std::memcpy(out, widened + within * size, n * size);
    }
    first += n, count -= n, out += n * size;
  }
}

// A slot whose columns are stored as rows; both are whole on every rank.
void WidenTransposed(const Source& source, const WeightSlot& slot, AxisRange rows, DType type,
                     std::byte* out) {
  const int64_t cols = slot.axes[1].size;
  const auto size = static_cast<int64_t>(SizeOf(type));
  alignas(float) std::byte piece[kSuperBlock * sizeof(float)];
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = rows.begin; r < rows.end; r += kSuperBlock) {
      const int64_t n = std::min<int64_t>(kSuperBlock, rows.end - r);
      WidenPiece(*source.tensor, source.first + c, r, n, type, piece);
      for (int64_t i = 0; i < n; ++i) {
        std::memcpy(out + ((r - rows.begin + i) * cols + c) * size, piece + i * size, size);
      }
    }
  }
}

// Of this rank's rows of the slot, in its own order, those of `rows`, one below the other at `out`.
void WidenMatrix(const Source& source, const WeightSlot& slot, AxisRange rows, DType type,
                 std::byte* out) {
  const Axis& cols = slot.axes[1];
  if (source.transposed) return WidenTransposed(source, slot, rows, type, out);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    WidenPiece(*source.tensor, StoredRow(source, slot, slot.axes[0].begin() + i), cols.begin(),
               cols.local(), type, out);
    out += cols.local() * SizeOf(type);
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

// Rows that are widened at a time: whole groups of those that are packed together, for a core's
// cache to hold, so that a thread needs little memory however large a matrix is.
int64_t SliceRows(int64_t cols, DType type) {
  constexpr int64_t kSliceBytes = 1 << 20;
  const int64_t group = kPackedRows * cols * static_cast<int64_t>(SizeOf(type));
  return std::max<int64_t>(1, kSliceBytes / std::max<int64_t>(1, group)) * kPackedRows;
}

size_t StagingBytes(const WeightPlan& plan, DType type) {
  size_t most = 0;
  for (const MatrixTarget& target : plan.matrices) {
    const DType own = TypeOf(target, type);
    const int64_t rows = std::min(target.rows(), SliceRows(target.cols(), own));
    most = std::max(most, Aligned(rows * target.cols() * SizeOf(own)));
  }
  return most;
}

// Rows [first, first + count) of the target, whose parts stand one below the other.
void WidenRows(const MatrixTarget& target, const std::vector<Source>& parts, AxisRange rows,
               DType type, std::byte* out) {
  int64_t before = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    const WeightSlot& slot = target.parts[p];
    const AxisRange own{std::max<int64_t>(0, rows.begin - before),
                        std::min(slot.axes[0].local(), rows.end - before)};
    before += slot.axes[0].local();
    if (own.begin >= own.end) continue;
    WidenMatrix(parts[p], slot, own, type, out);
    out += (own.end - own.begin) * target.cols() * SizeOf(type);
  }
}

void PackMatrix(const MatrixTarget& target, const std::vector<Source>& parts,
                const LoadOptions& options, std::byte* memory, std::byte* staging) {
  const int64_t rows = target.rows(), cols = target.cols();
  const DType type = TypeOf(target, options.type);
  if (IsPlain(parts, target.parts[0])) {
    void* data = const_cast<std::byte*>(FirstRow(parts[0], target.parts[0]));
    options.ops->pack(View::Contiguous(data, PlainType(parts[0].tensor->type), {rows, cols}), type,
                      memory, target.packed);
    return;
  }
  const int64_t step = SliceRows(cols, type);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    WidenRows(target, parts, {first, first + count}, type, staging);
    Packed slice;
    options.ops->pack(View::Contiguous(staging, type, {count, cols}), type,
                      memory + options.ops->packed_bytes(type, first, cols), &slice);
  }
  *target.packed = {.data = memory,
                    .type = type,
                    .rows = rows,
                    .cols = cols,
                    .bytes = options.ops->packed_bytes(type, rows, cols)};
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

// Packs all matrices, the largest first, each thread taking the next one. `staging`: StagingBytes
// for each thread; nothing is allocated on them, where a failure could not be told.
void PackAll(const WeightPlan& plan, const Sources& sources, const LoadOptions& options,
             const std::vector<std::byte*>& places, std::byte* staging, size_t staging_bytes) {
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
    for (size_t n = next++; n < order.size(); n = next++) {
      const size_t i = order[n];
      PackMatrix(plan.matrices[i], sources.matrices[i], options, places[i],
                 staging + part * staging_bytes);
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
  const size_t staging_bytes = StagingBytes(plan, options.type);
  const size_t threads = options.threads != nullptr ? options.threads->size() : 1;
  SL_ASSIGN_OR_RETURN(MappedMemory memory,
                      MappedMemory::Allocate(layout.bytes, Cat("weights of ", checkpoint.path())));
  SL_ASSIGN_OR_RETURN(const MappedMemory staging,
                      MappedMemory::Allocate(threads * staging_bytes,
                                             Cat("widened weights of ", checkpoint.path())));
  std::vector<std::byte*> places;
  for (const size_t offset : layout.matrices) places.push_back(memory.data() + offset);
  PackAll(plan, sources, options, places, staging.data(), staging_bytes);
  for (size_t i = 0; i < plan.vectors.size(); ++i) {
    FillVector(plan.vectors[i], sources.vectors[i], options.type,
               memory.data() + layout.vectors[i]);
  }
  if (options.progress) options.progress(1.0);
  return memory;
}

}  // namespace shardline
