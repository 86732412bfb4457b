// GPT-2's byte alphabet: every byte as a printable character (bytes that print stand for
// themselves, the 68 others are U+0100…U+0143 in order), so that BPE over characters is BPE over
// bytes. And the other way to write bytes as tokens.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace shardline {

void AppendByteAsCharacter(std::string& out, char byte);
// The byte a character of the alphabet stands for.
std::optional<unsigned char> ByteOfCharacter(char32_t c);
// The bytes of a text that is wholly in the alphabet.
std::optional<std::string> BytesOfCharacters(std::string_view text);

// "<0x41>": the token that stands for a byte in vocabularies with byte fallback.
std::string ByteTokenName(unsigned char byte);

}  // namespace shardline
