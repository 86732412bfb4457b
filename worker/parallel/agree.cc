#include "worker/parallel/agree.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace shardline {
namespace {

struct Verdict {
  uint32_t code;
  char text[2044];  // ends with a zero
};

View Bytes(void* data, size_t bytes) {
  return View::Contiguous(data, DType::kU8, {static_cast<int64_t>(bytes)});
}

}  // namespace

absl::Status Agree(ProcessGroup& group, const absl::Status& own, absl::Status& all) {
  Verdict verdict{static_cast<uint32_t>(own.code()), {}};
  const std::string text = Message(own);
  std::memcpy(verdict.text, text.data(), std::min(text.size(), sizeof(verdict.text) - 1));
  std::vector<Verdict> verdicts(group.size());
  SL_RETURN_IF_ERROR(group.AllGather(Bytes(&verdict, sizeof(verdict)),
                                     Bytes(verdicts.data(), verdicts.size() * sizeof(verdict))));
  all = absl::OkStatus();
  for (Verdict& v : verdicts) {
    if (v.code == 0) continue;
    v.text[sizeof(v.text) - 1] = '\0';
    all = absl::Status(static_cast<absl::StatusCode>(v.code), v.text);
    break;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> GatherWords(ProcessGroup& group,
                                                  std::span<const uint64_t> own) {
  std::vector<uint64_t> words(own.begin(), own.end()), all(own.size() * group.size());
  const size_t bytes = own.size_bytes();
  SL_RETURN_IF_ERROR(
      group.AllGather(Bytes(words.data(), bytes), Bytes(all.data(), bytes * group.size())));
  return all;
}

}  // namespace shardline
