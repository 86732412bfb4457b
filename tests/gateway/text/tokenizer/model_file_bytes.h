// Writes SentencePiece's ModelProto field by field, so that a test can also write one that lies.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace shardline {

class ModelFileBytes {
 public:
  ModelFileBytes& Number(uint64_t field, uint64_t value) {
    return Varint(field << 3).Varint(value);
  }
  ModelFileBytes& Float(uint64_t field, float value) {
    Varint(field << 3 | 5);
    char bytes[sizeof(value)];
    std::memcpy(bytes, &value, sizeof(value));
    bytes_.append(bytes, sizeof(bytes));
    return *this;
  }
  ModelFileBytes& Bytes(uint64_t field, std::string_view value) {
    Varint(field << 3 | 2).Varint(value.size());
    bytes_ += value;
    return *this;
  }
  ModelFileBytes& Piece(std::string_view token, float score, uint64_t type) {
    return Bytes(1, ModelFileBytes().Bytes(1, token).Float(2, score).Number(3, type).bytes());
  }
  // trainer_spec.model_type; normalizer_spec's add_dummy_prefix, remove_extra_whitespaces and map.
  ModelFileBytes& Trainer(uint64_t model_type) {
    return Bytes(2, ModelFileBytes().Number(3, model_type).bytes());
  }
  ModelFileBytes& Normalizer(bool prefix, bool trim, std::string_view map) {
    ModelFileBytes inner;
    if (!map.empty()) inner.Bytes(2, map);
    return Bytes(3, inner.Number(3, prefix).Number(4, trim).bytes());
  }
  const std::string& bytes() const { return bytes_; }

 private:
  ModelFileBytes& Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
    return *this;
  }

  std::string bytes_;
};

}  // namespace shardline
