#include "gateway/text/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <time.h>

#include "gateway/text/tokenizer/regex_syntax.h"
#include "gateway/text/utf8.h"
#include "shared/base/quoted.h"

namespace shardline {
namespace {

constexpr uint32_t kMatchLimit = 20'000'000;  // steps of one search: a fraction of a second
constexpr uint32_t kDepthLimit = 100'000;
constexpr uint32_t kHeapLimitKiB = 64 * 1024;
constexpr size_t kJitStackBytes = 4 << 20;
constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr time_t kMaxSeconds = 20;  // of this thread's own time, for all searches of a text

// What one thread needs to match, shared by all patterns.
struct MatchState {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);

  MatchState() {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_depth_limit(context, kDepthLimit);
    pcre2_set_heap_limit(context, kHeapLimitKiB);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
};

time_t ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec;
}

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[160];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

void Regex::Free::operator()(void* code) const { pcre2_code_free(static_cast<pcre2_code*>(code)); }

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes)
    return InvalidArgument("pattern of ", pattern.size(), " bytes");
  if (!IsWellFormedUtf8(pattern)) return InvalidArgument("pattern is not UTF-8");
  SL_ASSIGN_OR_RETURN(const std::string translated, OnigurumaToPcre2(pattern));
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 250);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, context.get());
  if (code == nullptr) return InvalidArgument(ErrorText(error));
  Regex regex;
  regex.pattern_ = pattern;
  regex.code_.reset(code);
  // Without JIT (a machine that forbids it, a pattern it cannot do) matching is slower, not
  // different.
  regex.jit_ = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

absl::Status Regex::FindAll(std::string_view text, std::vector<TextRange>& matches) const {
  thread_local MatchState state;
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0;
  bool matched_before = false;
  size_t last_end = 0;
  time_t start = 0;
  while (at <= text.size()) {
    const int rc = jit_ ? pcre2_jit_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                          state.data, state.context)
                        : pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                      state.data, state.context);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return InvalidArgument("pattern ", Quoted(pattern_.substr(0, 80)),
                             " is too costly on this text: ", ErrorText(rc));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(state.data);
    const size_t begin = range[0], end = range[1];
    if (end < begin)
      return InvalidArgument("pattern ", Quoted(pattern_.substr(0, 80)), " ends before it begins");
    if (begin == end && matched_before && end == last_end) {
      at += at < text.size() ? CharacterLength(text[at]) : 1;
      continue;
    }
    matches.push_back({begin, end});
    // Each search has its limit, but a long text has as many of them as it has characters.
    if (matches.size() % 1024 == 1024 - 1) {
      if (start == 0) start = ThreadSeconds() + 1;
      if (ThreadSeconds() - start >= kMaxSeconds) {
        return InvalidArgument("pattern ", Quoted(pattern_.substr(0, 80)),
                               " is too costly on this text: ", matches.size(), " matches took ",
                               int64_t{kMaxSeconds}, " s");
      }
    }
    at = last_end = end;
    matched_before = true;
  }
  return absl::OkStatus();
}

}  // namespace shardline
