// Raw memory with a type and a shape: what kernels, layers and the arena pass around. No ownership.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace shardline {

enum class DType : uint8_t { kF32, kBF16, kF16, kI32, kU32, kI64, kU8 };

constexpr size_t SizeOf(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kI32:
    case DType::kU32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kI64:
      return 8;
    case DType::kU8:
      return 1;
  }
  return 0;
}

constexpr std::string_view NameOf(DType type) {
  switch (type) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kI32:
      return "i32";
    case DType::kU32:
      return "u32";
    case DType::kI64:
      return "i64";
    case DType::kU8:
      return "u8";
  }
  return "?";
}

// Up to four dimensions, outermost first; strides in elements. The innermost dimension of a view
// that a kernel reads or writes is contiguous unless the kernel's comment says otherwise.
struct View {
  void* data = nullptr;
  DType type = DType::kF32;
  int32_t rank = 0;
  std::array<int64_t, 4> shape{};
  std::array<int64_t, 4> stride{};

  static View Contiguous(void* data, DType type, std::initializer_list<int64_t> shape) {
    View view{.data = data, .type = type, .rank = static_cast<int32_t>(shape.size())};
    int i = 0;
    for (int64_t n : shape) view.shape[i++] = n;
    int64_t stride = 1;
    for (int d = view.rank - 1; d >= 0; --d) {
      view.stride[d] = stride;
      stride *= view.shape[d];
    }
    return view;
  }

  int64_t elements() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= shape[d];
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(elements()) * SizeOf(type); }  // if contiguous

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }

  // Rows [begin, begin + count) of the outermost dimension.
  View Rows(int64_t begin, int64_t count) const {
    assert(rank >= 1 && begin >= 0 && begin + count <= shape[0]);
    View view = *this;
    view.data =
        static_cast<std::byte*>(data) + begin * stride[0] * static_cast<int64_t>(SizeOf(type));
    view.shape[0] = count;
    return view;
  }
  // Columns [begin, begin + count) of the innermost dimension.
  View Columns(int64_t begin, int64_t count) const {
    assert(rank >= 1 && begin >= 0 && begin + count <= shape[rank - 1]);
    View view = *this;
    view.data = static_cast<std::byte*>(data) + begin * static_cast<int64_t>(SizeOf(type));
    view.shape[rank - 1] = count;
    return view;
  }
  // [rows, a * b] seen as [rows, a, b].
  View SplitColumns(int64_t a, int64_t b) const {
    assert(rank == 2 && shape[1] == a * b);
    View view = *this;
    view.rank = 3;
    view.shape = {shape[0], a, b, 0};
    view.stride = {stride[0], b, 1, 0};
    return view;
  }
};

}  // namespace shardline
