#include "tools/cli/token_rows.h"

#include "shared/base/strings.h"
#include "tools/cli/table.h"
#include "tools/cli/visible.h"

namespace shardline::cli {
namespace {

std::string Right(std::string text, size_t width) {
  const size_t is = Width(text);
  return is < width ? std::string(width - is, ' ') + text : text;
}

std::string Left(std::string text, size_t width) {
  const size_t is = Width(text);
  return is < width ? text + std::string(width - is, ' ') : text;
}

std::string Line(const std::string& index, const std::string& id, const std::string& text,
                 const std::string& logprob, const std::string& rank,
                 const std::string& candidates) {
  std::string line = Cat(Right(index, 6), "  ", Right(id, 7), "  ", Left(text, 20), "  ",
                         Right(logprob, 9), "  ", Right(rank, 6), "  ", candidates);
  line.resize(line.find_last_not_of(' ') + 1);
  return line += '\n';
}

std::string LogProb(float value) { return Fixed("%.4f", static_cast<double>(value)); }

}  // namespace

std::string TokenHeading() { return Line("INDEX", "ID", "TEXT", "LOGPROB", "RANK", "CANDIDATES"); }

std::string TokenRow(uint64_t index, const v1::TokenInfo& token) {
  std::string candidates;
  for (const v1::Candidate& candidate : token.top()) {
    if (!candidates.empty()) candidates += "  ";
    candidates +=
        Cat(candidate.id(), " ", Escaped(candidate.raw()), " ", LogProb(candidate.logprob()));
  }
  return Line(Cat(index), Cat(token.id()), Escaped(token.raw()),
              token.has_logprob() ? LogProb(token.logprob()) : "-",
              token.has_rank() ? Cat(token.rank()) : "-", candidates);
}

}  // namespace shardline::cli
