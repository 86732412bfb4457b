#include "tools/cli/input.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <istream>

namespace shardline::cli {
namespace {

absl::Status TooLarge() {
  return InvalidArgument("the input has more than ", kMaxInputBytes, " bytes");
}

}  // namespace

absl::StatusOr<std::string> ReadAll(std::istream& in) {
  std::string text;
  char buffer[1 << 16];
  while (in.read(buffer, sizeof(buffer)), in.gcount() > 0) {
    if (text.size() + static_cast<size_t>(in.gcount()) > kMaxInputBytes) return TooLarge();
    text.append(buffer, static_cast<size_t>(in.gcount()));
  }
  return text;
}

absl::StatusOr<bool> ReadLine(std::istream& in, std::string& line) {
  line.clear();
  std::streambuf& buffer = *in.rdbuf();
  for (;;) {
    const int c = buffer.sbumpc();
    if (c == std::char_traits<char>::eof()) {
      in.setstate(std::ios::eofbit);
      return !line.empty();
    }
    if (c == '\n') return true;
    if (line.size() == kMaxInputBytes) return TooLarge();
    line.push_back(static_cast<char>(c));
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file || file.peek() == std::char_traits<char>::eof()) {
    if (errno != 0) return InvalidArgument(path, ": cannot be read: ", std::strerror(errno));
    file.clear();
  }
  absl::StatusOr<std::string> text = ReadAll(file);
  if (!text.ok()) return Annotate(text.status(), path);
  return text;
}

}  // namespace shardline::cli
