// Parses a GGUF file in one pass over its header: counts, metadata, tensor descriptions; then
// places every tensor in the data section. Nothing is allocated that the bytes left could not fill,
// so a lying count costs nothing.
#include "shared/format/gguf.h"

#include <absl/strings/string_view.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "shared/base/quoted.h"

namespace shardline {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

// The file's ids of metadata value types.
enum ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
  kValueTypes
};
// Bytes of a value of each type; for strings and arrays the smallest encoding.
constexpr uint64_t kMinBytes[kValueTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxNameBytes = 4096;
constexpr uint32_t kMaxDims = 4;
constexpr int kMaxArrayDepth = 4;
// Over all arrays of a file: elements are widened to 8 (strings: 16) bytes in memory.
constexpr uint64_t kMaxArrayElements = uint64_t{1} << 26;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinKeyValueBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

// Checked reads from the front of the file.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }

  template <typename T>
  absl::StatusOr<T> Read(std::string_view what) {
    SL_RETURN_IF_ERROR(Need(sizeof(T), what));
    return Take<T>();
  }

  // The next T; the caller has checked that it is there.
  template <typename T>
  T Take() {
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  // A length and so many bytes.
  absl::StatusOr<std::string_view> ReadString(std::string_view what, uint64_t max_bytes) {
    SL_ASSIGN_OR_RETURN(const uint64_t size, Read<uint64_t>(what));
    if (size > max_bytes) {
      return InvalidArgument(what, " of ", size, " bytes is longer than ", max_bytes);
    }
    SL_RETURN_IF_ERROR(Need(size, what));
    const char* data = reinterpret_cast<const char*>(bytes_.data() + position_);
    position_ += size;
    return std::string_view(data, size);
  }

  absl::Status Skip(uint64_t size, std::string_view what) {
    SL_RETURN_IF_ERROR(Need(size, what));
    position_ += size;
    return absl::OkStatus();
  }

 private:
  absl::Status Need(uint64_t size, std::string_view what) const {
    if (size <= left()) return absl::OkStatus();
    return InvalidArgument("truncated: ", what, " needs ", size, " bytes at offset ", position_,
                           ", the file has ", left(), " left");
  }

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

absl::StatusOr<uint32_t> ReadValueType(Reader& reader) {
  SL_ASSIGN_OR_RETURN(const uint32_t type, reader.Read<uint32_t>("value type"));
  if (type >= kValueTypes) return InvalidArgument("unknown value type ", type);
  return type;
}

struct ArrayHeader {
  uint32_t type;
  uint64_t size;
};

absl::StatusOr<ArrayHeader> ReadArrayHeader(Reader& reader) {
  SL_ASSIGN_OR_RETURN(const uint32_t type, ReadValueType(reader));
  SL_ASSIGN_OR_RETURN(const uint64_t size, reader.Read<uint64_t>("array length"));
  if (size > reader.left() / kMinBytes[type]) {
    return InvalidArgument("array of ", size, " elements does not fit into the ", reader.left(),
                           " bytes left in the file");
  }
  return ArrayHeader{type, size};
}

// Steps over the elements of an array of arrays; `depth` counts the arrays around them.
absl::Status SkipElements(Reader& reader, const ArrayHeader& array, int depth) {
  if (array.type != kString && array.type != kArray) {
    return reader.Skip(array.size * kMinBytes[array.type], "array");
  }
  if (depth > kMaxArrayDepth) {
    return InvalidArgument("arrays nested deeper than ", kMaxArrayDepth);
  }
  for (uint64_t i = 0; i < array.size; ++i) {
    if (array.type == kString) {
      SL_RETURN_IF_ERROR(
          reader.ReadString("array string", std::numeric_limits<uint64_t>::max()).status());
    } else {
      SL_ASSIGN_OR_RETURN(const ArrayHeader inner, ReadArrayHeader(reader));
      SL_RETURN_IF_ERROR(SkipElements(reader, inner, depth + 1));
    }
  }
  return absl::OkStatus();
}

// Appends `size` values of type T, which the caller has checked to be there.
template <typename T, typename Out>
void TakeAll(Reader& reader, uint64_t size, std::vector<Out>& out) {
  out.resize(size);
  for (Out& value : out) value = static_cast<Out>(reader.Take<T>());
}

absl::StatusOr<GgufArray> ReadArray(Reader& reader, uint64_t& elements_left) {
  SL_ASSIGN_OR_RETURN(const ArrayHeader header, ReadArrayHeader(reader));
  if (header.size > elements_left) {
    return InvalidArgument("the file's arrays hold more than ", kMaxArrayElements, " elements");
  }
  elements_left -= header.size;
  using Kind = GgufArray::Kind;
  GgufArray array{};
  array.size = header.size;
  auto signed_array = [&]<typename T>(T) {
    array.kind = Kind::kInt;
    TakeAll<T>(reader, header.size, array.ints);
  };
  auto unsigned_array = [&]<typename T>(T) {
    array.kind = Kind::kUint;
    TakeAll<T>(reader, header.size, array.uints);
  };
  auto float_array = [&]<typename T>(T) {
    array.kind = Kind::kFloat;
    TakeAll<T>(reader, header.size, array.floats);
  };
  switch (header.type) {
    case kU8:
      unsigned_array(uint8_t{});
      break;
    case kU16:
      unsigned_array(uint16_t{});
      break;
    case kU32:
      unsigned_array(uint32_t{});
      break;
    case kU64:
      unsigned_array(uint64_t{});
      break;
    case kI8:
      signed_array(int8_t{});
      break;
    case kI16:
      signed_array(int16_t{});
      break;
    case kI32:
      signed_array(int32_t{});
      break;
    case kI64:
      signed_array(int64_t{});
      break;
    case kF32:
      float_array(float{});
      break;
    case kF64:
      float_array(double{});
      break;
    case kBool:
      unsigned_array(uint8_t{});
      array.kind = Kind::kBool;
      for (const uint64_t value : array.uints) {
        if (value > 1) return InvalidArgument("a boolean is ", value, ", neither 0 nor 1");
      }
      break;
    case kString:
      array.kind = Kind::kString;
      array.strings.reserve(header.size);
      for (uint64_t i = 0; i < header.size; ++i) {
        SL_ASSIGN_OR_RETURN(
            const std::string_view text,
            reader.ReadString("array string", std::numeric_limits<uint64_t>::max()));
        array.strings.push_back(text);
      }
      break;
    case kArray:
      array.kind = Kind::kArray;
      SL_RETURN_IF_ERROR(SkipElements(reader, header, 1));
      break;
  }
  return array;
}

template <typename T, typename Wide>
absl::StatusOr<GgufValue> ReadNumber(Reader& reader) {
  SL_ASSIGN_OR_RETURN(const T value, reader.Read<T>("value"));
  return GgufValue(static_cast<Wide>(value));
}

absl::StatusOr<GgufValue> ReadValue(Reader& reader, uint64_t& elements_left) {
  SL_ASSIGN_OR_RETURN(const uint32_t type, ReadValueType(reader));
  switch (type) {
    case kU8:
      return ReadNumber<uint8_t, uint64_t>(reader);
    case kU16:
      return ReadNumber<uint16_t, uint64_t>(reader);
    case kU32:
      return ReadNumber<uint32_t, uint64_t>(reader);
    case kU64:
      return ReadNumber<uint64_t, uint64_t>(reader);
    case kI8:
      return ReadNumber<int8_t, int64_t>(reader);
    case kI16:
      return ReadNumber<int16_t, int64_t>(reader);
    case kI32:
      return ReadNumber<int32_t, int64_t>(reader);
    case kI64:
      return ReadNumber<int64_t, int64_t>(reader);
    case kF32:
      return ReadNumber<float, double>(reader);
    case kF64:
      return ReadNumber<double, double>(reader);
    case kBool: {
      SL_ASSIGN_OR_RETURN(const uint8_t value, reader.Read<uint8_t>("value"));
      if (value > 1) return InvalidArgument("a boolean is ", value, ", neither 0 nor 1");
      return GgufValue(value == 1);
    }
    case kString: {
      SL_ASSIGN_OR_RETURN(const std::string_view text,
                          reader.ReadString("string", std::numeric_limits<uint64_t>::max()));
      return GgufValue(text);
    }
    default: {
      SL_ASSIGN_OR_RETURN(GgufArray array, ReadArray(reader, elements_left));
      return GgufValue(std::move(array));
    }
  }
}

absl::Status CheckVersion(Reader& reader) {
  SL_ASSIGN_OR_RETURN(const uint32_t magic, reader.Read<uint32_t>("magic"));
  if (magic != 0x46554747)
    return InvalidArgument("not a GGUF file (it does not start with 'GGUF')");
  SL_ASSIGN_OR_RETURN(const uint32_t version, reader.Read<uint32_t>("version"));
  if ((version & 0xffff) == 0 && version != 0) {
    return InvalidArgument("a big-endian GGUF file; convert it to little endian");
  }
  if (version == 1)
    return InvalidArgument("GGUF version 1 is not read; convert the file to version 3");
  if (version != 2 && version != 3) {
    return InvalidArgument("GGUF version ", version, " is not known (2 and 3 are)");
  }
  return absl::OkStatus();
}

// A tensor as described in the header, before its data is placed.
struct Description {
  GgufTensor tensor;
  uint64_t offset;
  uint64_t bytes;
};

// The bytes of a tensor of this type whose dimensions are `dims`, innermost first.
absl::StatusOr<uint64_t> TensorBytes(GgmlType type, std::span<const uint64_t> dims) {
  const std::optional<GgmlBlock> block = GgmlBlockOf(type);
  if (!block) return InvalidArgument(GgmlTypeName(type), " is not served");
  if (dims[0] % block->elements != 0) {
    return InvalidArgument("row of ", dims[0], " elements is not a multiple of ",
                           GgmlTypeName(type), "'s block of ", block->elements);
  }
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  uint64_t elements = 1;
  for (const uint64_t dim : dims) {
    if (dim == 0 || dim > kMax / elements) {
      return InvalidArgument("dimension ", dim, dim == 0 ? " is not allowed" : " is too large");
    }
    elements *= dim;
  }
  const uint64_t blocks = elements / block->elements;
  if (blocks > kMax / block->bytes) return InvalidArgument("its size overflows");
  return blocks * block->bytes;
}

absl::Status ReadDescription(Reader& reader, Description& out) {
  SL_ASSIGN_OR_RETURN(const uint32_t rank, reader.Read<uint32_t>("dimension count"));
  if (rank == 0 || rank > kMaxDims) {
    return InvalidArgument("has ", rank, " dimensions, expected 1 to ", kMaxDims);
  }
  uint64_t dims[kMaxDims];
  for (uint32_t i = 0; i < rank; ++i) {
    SL_ASSIGN_OR_RETURN(dims[i], reader.Read<uint64_t>("dimension"));
  }
  SL_ASSIGN_OR_RETURN(const uint32_t type, reader.Read<uint32_t>("tensor type"));
  SL_ASSIGN_OR_RETURN(out.offset, reader.Read<uint64_t>("tensor offset"));
  out.tensor.type = static_cast<GgmlType>(type);
  SL_ASSIGN_OR_RETURN(out.bytes, TensorBytes(out.tensor.type, {dims, rank}));
  for (uint32_t i = rank; i-- > 0;) out.tensor.shape.push_back(static_cast<int64_t>(dims[i]));
  return absl::OkStatus();
}

// Every tensor lies inside the data section, on its alignment, and on no other tensor.
absl::Status PlaceTensors(std::vector<Description>& tensors, std::span<const std::byte> data,
                          uint64_t alignment) {
  for (Description& tensor : tensors) {
    auto error = [&](auto... parts) {
      return InvalidArgument("tensor ", Quoted(tensor.tensor.name), ": ", parts...);
    };
    if (tensor.offset % alignment != 0) {
      return error("offset ", tensor.offset, " is not a multiple of the alignment ", alignment);
    }
    if (tensor.offset > data.size() || tensor.bytes > data.size() - tensor.offset) {
      return error("its ", tensor.bytes, " bytes at offset ", tensor.offset,
                   " reach past the end of the file, whose data section has ", data.size());
    }
    tensor.tensor.data = data.subspan(tensor.offset, tensor.bytes);
  }
  std::vector<const Description*> order;
  order.reserve(tensors.size());
  for (const Description& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const Description* a, const Description* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
      return InvalidArgument("tensors ", Quoted(order[i - 1]->tensor.name), " and ",
                             Quoted(order[i]->tensor.name), " overlap");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  SL_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  SL_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, Parse(mapped.bytes(), path));
  file->file_ = std::move(mapped);
  return file;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Parse(std::span<const std::byte> bytes,
                                                          std::string name) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->path_ = std::move(name);
  if (absl::Status status = file->ReadAll(bytes); !status.ok())
    return Annotate(status, file->path_);
  return file;
}

absl::Status GgufFile::ReadAll(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  SL_RETURN_IF_ERROR(CheckVersion(reader));
  SL_ASSIGN_OR_RETURN(const uint64_t tensor_count, reader.Read<uint64_t>("tensor count"));
  SL_ASSIGN_OR_RETURN(const uint64_t metadata_count, reader.Read<uint64_t>("metadata count"));
  if (metadata_count > reader.left() / kMinKeyValueBytes ||
      tensor_count > reader.left() / kMinTensorBytes) {
    return InvalidArgument("counts of ", metadata_count, " metadata entries and ", tensor_count,
                           " tensors do not fit into a file of ", bytes.size(), " bytes");
  }
  uint64_t elements_left = kMaxArrayElements;
  for (uint64_t i = 0; i < metadata_count; ++i) {
    SL_ASSIGN_OR_RETURN(const std::string_view key,
                        reader.ReadString("metadata key", kMaxKeyBytes));
    if (key.empty()) return InvalidArgument("metadata entry ", i, " has an empty key");
    absl::StatusOr<GgufValue> value = ReadValue(reader, elements_left);
    if (!value.ok()) return Annotate(value.status(), Cat("metadata key ", Quoted(key)));
    if (!metadata_index_.emplace(std::string(key), metadata_.size()).second) {
      return InvalidArgument("metadata key ", Quoted(key), " appears twice");
    }
    metadata_.emplace_back(key, *std::move(value));
  }
  std::vector<Description> tensors;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    Description tensor{};
    SL_ASSIGN_OR_RETURN(tensor.tensor.name, reader.ReadString("tensor name", kMaxNameBytes));
    if (tensor.tensor.name.empty()) return InvalidArgument("tensor ", i, " has an empty name");
    if (absl::Status status = ReadDescription(reader, tensor); !status.ok()) {
      return Annotate(status, Cat("tensor ", Quoted(tensor.tensor.name)));
    }
    if (!tensor_index_.emplace(std::string(tensor.tensor.name), i).second) {
      return InvalidArgument("tensor ", Quoted(tensor.tensor.name), " appears twice");
    }
    tensors.push_back(std::move(tensor));
  }
  SL_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment());
  if (tensors.empty()) return absl::OkStatus();  // a vocabulary alone
  const uint64_t start = (reader.position() + alignment - 1) / alignment * alignment;
  if (start > bytes.size()) return InvalidArgument("truncated: it ends before its tensor data");
  SL_RETURN_IF_ERROR(PlaceTensors(tensors, bytes.subspan(start), alignment));
  tensors_.reserve(tensors.size());
  for (Description& tensor : tensors) tensors_.push_back(std::move(tensor.tensor));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> GgufFile::Alignment() const {
  if (Find("general.alignment") == nullptr) return kDefaultAlignment;
  const std::optional<int64_t> value = Int("general.alignment");
  constexpr int64_t kMaxAlignment = int64_t{1} << 30;
  if (!value || *value < 8 || *value > kMaxAlignment || (*value & (*value - 1)) != 0) {
    return InvalidArgument("general.alignment must be a power of two from 8 to ", kMaxAlignment,
                           value ? Cat(", it is ", *value) : std::string());
  }
  return static_cast<uint64_t>(*value);
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto found = metadata_index_.find(Absl(key));
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second].second;
}

std::optional<int64_t> GgufFile::Int(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(value)) return *number;
  if (const auto* number = std::get_if<uint64_t>(value)) {
    if (*number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return static_cast<int64_t>(*number);
    }
  }
  return std::nullopt;
}

std::optional<double> GgufFile::Float(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* number = std::get_if<int64_t>(value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<uint64_t>(value)) return static_cast<double>(*number);
  return std::nullopt;
}

std::optional<bool> GgufFile::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  const bool* flag = value == nullptr ? nullptr : std::get_if<bool>(value);
  return flag == nullptr ? std::nullopt : std::optional<bool>(*flag);
}

std::optional<std::string_view> GgufFile::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  const auto* text = value == nullptr ? nullptr : std::get_if<std::string_view>(value);
  return text == nullptr ? std::nullopt : std::optional<std::string_view>(*text);
}

const GgufArray* GgufFile::Array(std::string_view key) const {
  const GgufValue* value = Find(key);
  return value == nullptr ? nullptr : std::get_if<GgufArray>(value);
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(Absl(name));
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace shardline
