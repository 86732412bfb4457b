#include "gateway/text/tokenizer/byte_alphabet.h"

#include <array>

#include "gateway/text/utf8.h"

namespace shardline {
namespace {

constexpr int kCharacters = 0x144;

struct Alphabet {
  std::array<std::string, 256> character;
  std::array<int, kCharacters> byte;
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet = [] {
    Alphabet a;
    a.byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t c = printable ? static_cast<char32_t>(b) : next++;
      AppendUtf8(a.character[static_cast<size_t>(b)], c);
      a.byte[c] = b;
    }
    return a;
  }();
  return alphabet;
}

}  // namespace

void AppendByteAsCharacter(std::string& out, char byte) {
  static const Alphabet& alphabet = TheAlphabet();
  out += alphabet.character[static_cast<unsigned char>(byte)];
}

std::optional<unsigned char> ByteOfCharacter(char32_t c) {
  static const Alphabet& alphabet = TheAlphabet();
  if (c >= kCharacters || alphabet.byte[c] < 0) return std::nullopt;
  return static_cast<unsigned char>(alphabet.byte[c]);
}

std::optional<std::string> BytesOfCharacters(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = ByteOfCharacter(NextCharacter(text, &i));
    if (!byte) return std::nullopt;
    out.push_back(static_cast<char>(*byte));
  }
  return out;
}

std::string ByteTokenName(unsigned char byte) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

}  // namespace shardline
