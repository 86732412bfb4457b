#include "gateway/text/detokenizer.h"
#include "gateway/text/utf8.h"

namespace shardline {

std::string Utf8Stream::Push(std::string_view bytes) {
  if (!pending_.empty()) {
    pending_.append(bytes);
    bytes = pending_;
  }
  std::string out;
  out.reserve(bytes.size());
  size_t i = 0;
  while (i < bytes.size()) {
    const Utf8Scan scan = ScanUtf8(bytes, i);
    if (scan.part == Utf8Part::kIncomplete) break;
    out.append(scan.part == Utf8Part::kCharacter ? bytes.substr(i, scan.length)
                                                 : kReplacementCharacter);
    i += scan.length;
  }
  pending_ = std::string(bytes.substr(i));  // at most 3 bytes: an unfinished character
  return out;
}

std::string Utf8Stream::Finish() {
  if (pending_.empty()) return {};
  pending_.clear();
  return std::string(kReplacementCharacter);
}

}  // namespace shardline
