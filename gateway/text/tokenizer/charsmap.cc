#include "gateway/text/tokenizer/charsmap.h"

#include "gateway/text/utf8.h"

namespace shardline {
namespace {

uint32_t LittleEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// One unit of the double array: the byte that leads to it (bit 31 set: a value instead), whether a
// sequence ends behind it, and the distance to its children.
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t Label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
uint32_t Offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }
uint32_t Value(uint32_t unit) { return unit & ((1u << 31) - 1); }

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Parse(std::string_view bytes) {
  if (bytes.size() < 4) return InvalidArgument("precompiled_charsmap of ", bytes.size(), " bytes");
  const uint32_t size = LittleEndian(bytes);
  bytes.remove_prefix(4);
  if (size > bytes.size() || size % 4 != 0 || size == 0) {
    return InvalidArgument("precompiled_charsmap has a double array of ", size, " bytes in ",
                           bytes.size());
  }
  Charsmap map;
  map.units_.reserve(size / 4);
  for (uint32_t at = 0; at < size; at += 4) map.units_.push_back(LittleEndian(bytes.substr(at)));
  map.replacements_ = bytes.substr(size);
  if (!IsWellFormedUtf8(map.replacements_)) {
    return InvalidArgument("precompiled_charsmap has replacements that are not UTF-8");
  }
  return map;
}

std::optional<Charsmap::Match> Charsmap::Search(std::string_view text, bool longest) const {
  std::optional<Match> match;
  size_t node = Offset(units_[0]);
  for (size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size() || Label(units_[node]) != byte) break;
    const bool leaf = HasLeaf(units_[node]);
    node ^= Offset(units_[node]);
    if (!leaf) continue;
    const uint32_t at = node < units_.size() ? Value(units_[node]) : ~uint32_t{0};
    // A place inside a character is as wrong as one outside.
    const bool usable = at <= replacements_.size() &&
                        (at == replacements_.size() || (replacements_[at] & 0xC0) != 0x80);
    if (!usable) continue;
    const std::string_view tail = std::string_view(replacements_).substr(at);
    match = {i + 1, tail.substr(0, tail.find('\0'))};
    if (!longest) break;
  }
  return match;
}

}  // namespace shardline
