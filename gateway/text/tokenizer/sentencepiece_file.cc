#include "gateway/text/tokenizer/sentencepiece_file.h"

#include <cmath>
#include <cstring>

#include "gateway/text/tokenizer/sentencepiece.h"
#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr size_t kMaxTokenBytes = 4096;

// One field of a message: a number (varint, fixed32, fixed64) or bytes.
struct Field {
  uint64_t number = 0;
  enum class Kind { kVarint, kFixed64, kBytes, kFixed32 } kind = Kind::kVarint;
  uint64_t value = 0;
  std::string_view bytes;
};

class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  bool Done() const { return rest_.empty(); }
  absl::StatusOr<Field> Next() {
    Field field;
    SL_ASSIGN_OR_RETURN(const uint64_t key, Varint());
    field.number = key >> 3;
    switch (key & 7) {
      case 0: {
        SL_ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case 1:
        field.kind = Field::Kind::kFixed64;
        return Fixed(8, field);
      case 2: {
        field.kind = Field::Kind::kBytes;
        SL_ASSIGN_OR_RETURN(const uint64_t size, Varint());
        if (size > rest_.size()) break;
        field.bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return field;
      }
      case 5:
        field.kind = Field::Kind::kFixed32;
        return Fixed(4, field);
      default:
        break;
    }
    return Broken();
  }

 private:
  static absl::Status Broken() { return InvalidArgument("is not a SentencePiece model"); }

  absl::StatusOr<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return Broken();
  }

  absl::StatusOr<Field> Fixed(size_t size, Field field) {
    if (rest_.size() < size) return Broken();
    std::memcpy(&field.value, rest_.data(), size);  // little-endian, as the machines served are
    rest_.remove_prefix(size);
    return field;
  }

  std::string_view rest_;
};

// Calls `read` with every field of a message.
template <typename Read>
absl::Status ForEachField(std::string_view message, const Read& read) {
  for (Fields fields(message); !fields.Done();) {
    SL_ASSIGN_OR_RETURN(const Field field, fields.Next());
    SL_RETURN_IF_ERROR(read(field));
  }
  return absl::OkStatus();
}

absl::Status Expect(const Field& field, Field::Kind kind, std::string_view name) {
  if (field.kind == kind) return absl::OkStatus();
  return InvalidArgument(name, " has another type than in a SentencePiece model");
}

absl::Status ReadPiece(std::string_view message, SentencePieceFile& file) {
  std::string_view token;
  double score = 0;
  uint64_t type = kNormal;
  SL_RETURN_IF_ERROR(ForEachField(message, [&](const Field& field) -> absl::Status {
    if (field.number == 1) {
      SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kBytes, "piece"));
      token = field.bytes;
    } else if (field.number == 2) {
      SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kFixed32, "score"));
      float value = 0;
      std::memcpy(&value, &field.value, sizeof(value));
      score = value;
    } else if (field.number == 3) {
      SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kVarint, "type"));
      type = field.value;
    }
    return absl::OkStatus();
  }));
  if (token.empty() || token.size() > kMaxTokenBytes || !IsWellFormedUtf8(token)) {
    return InvalidArgument("is not UTF-8 text of 1 to ", kMaxTokenBytes, " bytes");
  }
  if (std::isnan(score)) return InvalidArgument("has a score that is no number");
  if (type < kNormal || type > kByte) return InvalidArgument("has type ", type);
  file.tokens.push_back(token);
  file.scores.push_back(score);
  file.types.push_back(static_cast<int64_t>(type));
  return absl::OkStatus();
}

absl::Status ReadTrainer(std::string_view message, SentencePieceFile& file) {
  return ForEachField(message, [&](const Field& field) -> absl::Status {
    switch (field.number) {
      case 3:
        SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kVarint, "trainer_spec.model_type"));
        if (field.value != uint64_t{SentencePieceFile::kUnigram} &&
            field.value != uint64_t{SentencePieceFile::kBpe}) {
          return InvalidArgument("trainer_spec.model_type ", field.value,
                                 " is not supported (1, unigram, and 2, BPE, are)");
        }
        file.model_type = static_cast<int64_t>(field.value);
        break;
      case 24:
        if (field.value != 0) {
          return InvalidArgument("trainer_spec.treat_whitespace_as_suffix is not supported");
        }
        break;
      case 45:
        SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kBytes, "trainer_spec.unk_piece"));
        file.unk_piece = field.bytes;
        break;
      case 46:
        SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kBytes, "trainer_spec.bos_piece"));
        file.bos_piece = field.bytes;
        break;
      case 47:
        SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kBytes, "trainer_spec.eos_piece"));
        file.eos_piece = field.bytes;
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

absl::Status ReadNormalizer(std::string_view message, SentencePieceFile& file) {
  return ForEachField(message, [&](const Field& field) -> absl::Status {
    switch (field.number) {
      case 2:
        SL_RETURN_IF_ERROR(
            Expect(field, Field::Kind::kBytes, "normalizer_spec.precompiled_charsmap"));
        file.charsmap = field.bytes;
        break;
      case 3:
        file.add_dummy_prefix = field.value != 0;
        break;
      case 4:
        file.remove_extra_whitespaces = field.value != 0;
        break;
      case 5:
        if (field.value == 0) {
          return InvalidArgument("normalizer_spec.escape_whitespaces must be true");
        }
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<SentencePieceFile> ParseSentencePieceFile(std::string_view bytes) {
  SentencePieceFile file;
  SL_RETURN_IF_ERROR(ForEachField(bytes, [&](const Field& field) -> absl::Status {
    if (field.number < 1 || field.number > 3) return absl::OkStatus();
    SL_RETURN_IF_ERROR(Expect(field, Field::Kind::kBytes, Cat("field ", field.number)));
    if (field.number == 1) {
      const absl::Status piece = ReadPiece(field.bytes, file);
      if (piece.ok()) return piece;
      return Annotate(piece, Cat("pieces[", file.tokens.size(), "]"));
    }
    return field.number == 2 ? ReadTrainer(field.bytes, file) : ReadNormalizer(field.bytes, file);
  }));
  if (file.tokens.empty()) return InvalidArgument("has no pieces");
  return file;
}

}  // namespace shardline
