#include "tools/cli/answer.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ostream>

#include "shared/base/quoted.h"
#include "shared/base/strings.h"

namespace shardline::cli {
namespace {

double Seconds(Answer::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string Fixed(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), format, value);
  return buffer;
}

std::string ReasonName(v1::FinishReason reason) {
  std::string name = v1::FinishReason_Name(reason);
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  if (name.rfind(kPrefix, 0) == 0) name.erase(0, kPrefix.size());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

}  // namespace

Answer::Answer(Style style, std::ostream& out, Clock::time_point start)
    : style_(style), out_(out), start_(start), last_token_(start) {}

void Answer::Take(const v1::GenerateEvent& event, Clock::time_point now) {
  if (style_.json) {
    std::string line;
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    if (google::protobuf::util::MessageToJsonString(event, &line, options).ok()) {
      out_ << line << std::endl;
    }
  }
  switch (event.event_case()) {
    case v1::GenerateEvent::kPrompt:
      if (style_.json) break;
      for (const v1::TokenInfo& token : event.prompt().tokens()) Write(token.raw());
      break;
    case v1::GenerateEvent::kTokens:
      TakeTokens(event.tokens(), now);
      break;
    case v1::GenerateEvent::kFinished:
      TakeFinished(event.finished());
      break;
    case v1::GenerateEvent::kError: {
      std::string code = v1::ErrorCode_Name(event.error().code());
      constexpr std::string_view kPrefix = "ERROR_CODE_";
      if (code.rfind(kPrefix, 0) == 0) code.erase(0, kPrefix.size());
      error_ = Cat(code, ": ", event.error().message(),
                   event.error().retryable() ? " (may be tried again)" : "");
      std::replace(error_.begin(), error_.end(), '\n', ' ');
      break;
    }
    default:
      break;
  }
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
  if (style_.several) {
    pending_[tokens.output_index()] += tokens.text();
  } else if (!style_.json) {
    Write(tokens.text());
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
  if (style_.several && !style_.json) {
    Close();
    Write(Cat("[", finished.output_index(), "] ", pending_[finished.output_index()]));
    Close();
  }
}

void Answer::Write(const std::string& text) {
  if (text.empty()) return;
  out_ << text << std::flush;
  at_line_start_ = text.back() == '\n';
}

void Answer::Close() {
  if (!at_line_start_) Write("\n");
}

std::string Answer::Summary() const {
  std::string line = Cat(tokens_, tokens_ == 1 ? " token" : " tokens");
  if (first_token_) {
    line += Cat(", first after ", Fixed("%.3g", Seconds(*first_token_ - start_)), " s");
    const double seconds = Seconds(last_token_ - *first_token_);
    if (tokens_ > first_tokens_ && seconds > 0) {
      line += Cat(", ", Fixed("%.1f", static_cast<double>(tokens_ - first_tokens_) / seconds),
                  " tok/s");
    }
  }
  return reasons_.empty() ? line : Cat(line, ", finished: ", reasons_);
}

}  // namespace shardline::cli
