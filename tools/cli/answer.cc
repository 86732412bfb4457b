#include "tools/cli/answer.h"

#include <algorithm>
#include <cctype>
#include <ostream>

#include "shared/base/quoted.h"
#include "shared/base/strings.h"
#include "tools/cli/table.h"
#include "tools/cli/token_rows.h"
#include "tools/cli/visible.h"

namespace shardline::cli {
namespace {

double Seconds(Answer::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string ReasonName(v1::FinishReason reason) {
  std::string name = v1::FinishReason_Name(reason);
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  if (name.rfind(kPrefix, 0) == 0) name.erase(0, kPrefix.size());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::string ErrorLine(const v1::Error& error) {
  std::string code = v1::ErrorCode_Name(error.code());
  constexpr std::string_view kPrefix = "ERROR_CODE_";
  if (code.rfind(kPrefix, 0) == 0) code.erase(0, kPrefix.size());
  std::string line =
      Cat(code, ": ", error.message(), error.retryable() ? " (may be tried again)" : "");
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

Answer::Answer(Style style, std::ostream& out, Clock::time_point start)
    : style_(style), out_(out), start_(start), last_token_(start) {}

void Answer::Take(const v1::GenerateEvent& event, Clock::time_point now) {
  last_seq_ = event.event_seq();
  if (style_.json) {
    const absl::StatusOr<std::string> line = ToJson(event, /*all=*/false);
    if (line.ok()) out_ << *line << std::endl;
  }
  switch (event.event_case()) {
    case v1::GenerateEvent::kAccepted:
      request_id_ = event.accepted().request_id();
      break;
    case v1::GenerateEvent::kPrompt:
      TakePrompt(event.prompt());
      break;
    case v1::GenerateEvent::kTokens:
      TakeTokens(event.tokens(), now);
      break;
    case v1::GenerateEvent::kFinished:
      TakeFinished(event.finished());
      break;
    case v1::GenerateEvent::kError:
      error_ = ErrorLine(event.error());
      break;
    default:
      break;
  }
}

void Answer::TakePrompt(const v1::PromptTokens& prompt) {
  if (style_.json) return;
  if (style_.table) {
    if (!prompt_shown_) Write(Cat("prompt\n", TokenHeading()));
    uint64_t position = prompt.first_position();
    for (const v1::TokenInfo& token : prompt.tokens()) Write(TokenRow(position++, token));
  } else {
    for (const v1::TokenInfo& token : prompt.tokens()) Write(token.raw());
  }
  prompt_shown_ = true;
}

void Answer::TakeTokens(const v1::OutputTokens& tokens, Clock::time_point now) {
  if (tokens.tokens_size() > 0) {
    tokens_ += static_cast<uint64_t>(tokens.tokens_size());
    if (!first_token_) {
      first_token_ = now;
      first_tokens_ = tokens_;
    }
    last_token_ = now;
  }
  if (style_.json) return;
  const uint32_t index = tokens.output_index();
  Output& output = waiting_[index];
  std::string piece = style_.table ? "" : tokens.text();
  if (style_.table) {
    for (const v1::TokenInfo& token : tokens.tokens()) piece += TokenRow(output.rows++, token);
  }
  if (!shown_) Turn(index);
  if (shown_ == index) {
    Write(piece);
  } else {
    output.pending += piece;
  }
}

void Answer::TakeFinished(const v1::Finished& finished) {
  if (!reasons_.empty()) reasons_ += ", ";
  reasons_ += ReasonName(finished.reason());
  if (finished.matched_case() == v1::Finished::kStopTokenId) {
    reasons_ += Cat(" (", finished.stop_token_id(), ")");
  } else if (finished.matched_case() == v1::Finished::kStopString) {
    reasons_ += Cat(" (", Quoted(finished.stop_string()), ")");
  }
  if (finished.has_usage()) {
    complete_ = true;
    tokens_ = std::max<uint64_t>(tokens_, finished.usage().output_tokens());
  }
  if (style_.json) return;
  waiting_[finished.output_index()].finished = true;
  if (!shown_) Turn(finished.output_index());
  while (shown_ && waiting_[*shown_].finished) {
    waiting_.erase(*shown_);
    shown_.reset();
    if (!waiting_.empty()) Turn(waiting_.begin()->first);
  }
}

void Answer::Turn(uint32_t index) {
  const bool headed = style_.several || index > 0 || turned_;
  if (style_.table) {
    const bool first = !turned_ && !prompt_shown_;
    if (!first) Write("\n");
    if (headed || !first) Write(Cat("output ", index, "\n"));
    Write(TokenHeading());
  } else if (headed) {
    if (!at_line_start_) Write("\n");
    Write(Cat("[", index, "] "));
  }
  turned_ = true;
  shown_ = index;
  Write(waiting_[index].pending);
  waiting_[index].pending.clear();
}

void Answer::Write(const std::string& text) {
  if (text.empty()) return;
  out_ << (style_.terminal ? WithoutControls(text) : text) << std::flush;
  at_line_start_ = text.back() == '\n';
}

void Answer::Close() {
  if (style_.json) return;
  if (shown_) waiting_.erase(*shown_);
  while (!waiting_.empty()) {
    Turn(waiting_.begin()->first);
    waiting_.erase(waiting_.begin());
  }
  if (!at_line_start_) Write("\n");
}

std::string Answer::Tokens() const { return Cat(tokens_, tokens_ == 1 ? " token" : " tokens"); }

std::optional<double> Answer::Rate() const {
  if (!first_token_ || tokens_ <= first_tokens_) return std::nullopt;
  const double seconds = Seconds(last_token_ - *first_token_);
  if (seconds <= 0) return std::nullopt;
  return static_cast<double>(tokens_ - first_tokens_) / seconds;
}

std::string Answer::Summary() const {
  std::string line = Tokens();
  if (first_token_) {
    line += Cat(", first after ", Fixed("%.3g", Seconds(*first_token_ - start_)), " s");
  }
  if (const auto rate = Rate()) line += Cat(", ", Fixed("%.1f", *rate), " tok/s");
  return reasons_.empty() ? line : Cat(line, ", finished: ", reasons_);
}

}  // namespace shardline::cli
