// Encoding of the flat messages: fixed parts byte by byte, then each array as a 32-bit count and
// its elements. Fields(archive, message) below is the layout of a message; reading and writing both
// follow it, so they cannot differ.
#include "shared/ipc/message.h"

#include <cstring>

namespace shardline {
namespace {

template <typename T>
concept Flat = std::is_trivially_copyable_v<T>;

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) { out_.clear(); }

  template <Flat T>
  void Value(const T& value) {
    Append(&value, sizeof(T));
  }
  template <typename Array>  // std::vector of flat elements, or std::string
  void Elements(const Array& array) {
    Value(static_cast<uint32_t>(array.size()));
    if (!array.empty()) Append(array.data(), array.size() * sizeof(array[0]));
  }

 private:
  void Append(const void* data, size_t bytes) {
    const size_t at = out_.size();
    out_.resize(at + bytes);
    std::memcpy(out_.data() + at, data, bytes);
  }
  std::vector<std::byte>& out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in) {}

  template <Flat T>
  void Value(T& value) {
    if (Take(sizeof(T))) std::memcpy(&value, in_.data() - sizeof(T), sizeof(T));
  }
  template <typename Array>
  void Elements(Array& array) {
    uint32_t count = 0;
    Value(count);
    const uint64_t bytes = uint64_t{count} * sizeof(array[0]);
    if (!Take(bytes)) return;  // so an allocation is never larger than the payload
    array.resize(count);
    if (count > 0) std::memcpy(array.data(), in_.data() - bytes, bytes);
  }
  bool complete() const { return fits_ && in_.empty(); }
  bool fits() const { return fits_; }

 private:
  // Moves past the next bytes; they then lie before in_.data().
  bool Take(uint64_t bytes) {
    fits_ = fits_ && bytes <= in_.size();
    if (fits_) in_ = in_.subspan(bytes);
    return fits_;
  }
  std::span<const std::byte> in_;
  bool fits_ = true;
};

// ---- layouts: `M` is a message type, const when writing ----

template <typename T, typename M>
concept Is = std::is_same_v<std::remove_const_t<M>, T>;

template <typename Archive, typename M>
void Fields(Archive& archive, M& message) {
  if constexpr (Is<Configure, M>) {
    archive.Elements(message.eos_ids);
  } else if constexpr (Is<Submit, M>) {
    archive.Value(message.header);
    archive.Elements(message.prompt);
    archive.Elements(message.emitted);
    archive.Elements(message.stop_token_ids);
    archive.Elements(message.logit_bias);
  } else if constexpr (Is<Progress, M>) {
    archive.Value(message.fraction);
    archive.Elements(message.phase);
  } else if constexpr (Is<Ready, M>) {
    archive.Value(message.header);
    archive.Elements(message.family);
    archive.Elements(message.dtype);
    archive.Elements(message.arithmetic);
    archive.Elements(message.quantisation);
    archive.Elements(message.instruction_set);
    archive.Elements(message.capabilities);
  } else if constexpr (Is<Tokens, M> || Is<Prompt, M>) {
    archive.Value(message.header);
    archive.Elements(message.tokens);
    archive.Elements(message.top);
  } else if constexpr (Is<Failed, M>) {
    archive.Value(message.key);
    archive.Value(message.code);
    archive.Elements(message.message);
  } else if constexpr (Is<StepPlan, M>) {
    archive.Value(message.step);
    archive.Elements(message.rows);
    archive.Elements(message.tokens);
    archive.Elements(message.wanted);
    archive.Elements(message.blocks);
  } else {
    static_assert(Flat<std::remove_const_t<M>>);
    archive.Value(message);
  }
}

// The rows cover the tokens and the wanted ones in order, and nothing else.
std::string_view FaultOf(const StepPlan& plan) {
  uint64_t tokens = 0, wanted = 0;
  for (const PlanRow& row : plan.rows) {
    if (row.token_count < 1 || row.first_position < 0 || row.first_token != tokens) {
      return "rows do not cover the tokens";
    }
    if (row.first_wanted != wanted) return "rows do not cover the wanted tokens";
    if (row.form > RowForm::kDecode) return "unknown form of row";
    tokens += row.token_count;
    wanted += row.wanted_count;
    if (tokens > plan.tokens.size() || wanted > plan.wanted.size()) {
      return "rows have more tokens than there are";
    }
    for (uint64_t i = row.first_wanted; i < wanted; ++i) {
      if (plan.wanted[i] < row.first_token || plan.wanted[i] >= tokens) {
        return "a wanted token is not of its row";
      }
    }
  }
  return tokens == plan.tokens.size() && wanted == plan.wanted.size()
             ? std::string_view()
             : "there are more tokens than rows have";
}

// What does not fit within a message whose lengths do; empty if all is well.
template <typename M>
std::string_view Fault(const M& message) {
  if constexpr (Is<Tokens, M> || Is<Prompt, M>) {
    if (message.top.size() != uint64_t{message.header.top_count} * message.tokens.size()) {
      return "candidates do not match top_count";
    }
  } else if constexpr (Is<Finished, M>) {
    if (message.reason < FlatFinish::kEos || message.reason > FlatFinish::kCancelled) {
      return "unknown reason";
    }
  } else if constexpr (Is<Failed, M>) {
    if (message.code < FlatError::kNonFiniteLogits || message.code > FlatError::kOverloaded) {
      return "unknown code";
    }
  } else if constexpr (Is<StepPlan, M>) {
    return FaultOf(message);
  }
  return {};
}

// No padding: every byte that is sent was written.
static_assert(sizeof(ReadyHeader) == 64 && sizeof(TokenRecord) == 16 && sizeof(Cancel) == 16);
static_assert(sizeof(PlanRow) == 40 && sizeof(BlockUpdate) == 20);
static_assert(sizeof(TokensHeader) == 24 && sizeof(PromptHeader) == 16 && sizeof(Finished) == 32);

}  // namespace

std::string_view Name(MessageKind kind) {
  switch (kind) {
    case MessageKind::kConfigure:
      return "Configure";
    case MessageKind::kSubmit:
      return "Submit";
    case MessageKind::kCancel:
      return "Cancel";
    case MessageKind::kPause:
      return "Pause";
    case MessageKind::kResume:
      return "Resume";
    case MessageKind::kShutdown:
      return "Shutdown";
    case MessageKind::kProgress:
      return "Progress";
    case MessageKind::kReady:
      return "Ready";
    case MessageKind::kTokens:
      return "Tokens";
    case MessageKind::kPrompt:
      return "Prompt";
    case MessageKind::kFinished:
      return "Finished";
    case MessageKind::kFailed:
      return "Failed";
    case MessageKind::kStepReport:
      return "StepReport";
    case MessageKind::kStepPlan:
      return "StepPlan";
  }
  return {};
}

template <typename T>
void Encode(const T& message, std::vector<std::byte>& out) {
  Writer writer(out);
  Fields(writer, message);
}

template <typename T>
absl::StatusOr<T> Decode(std::span<const std::byte> payload) {
  T message{};
  Reader reader(payload);
  Fields(reader, message);
  if (!reader.complete()) {
    return InvalidArgument(Name(KindOf<T>()), " message: ", payload.size(), " bytes are too ",
                           reader.fits() ? "many" : "few");
  }
  if (const std::string_view fault = Fault(message); !fault.empty()) {
    return InvalidArgument(Name(KindOf<T>()), " message: ", fault);
  }
  return message;
}

#define SL_MESSAGE(T)                                         \
  template void Encode<T>(const T&, std::vector<std::byte>&); \
  template absl::StatusOr<T> Decode<T>(std::span<const std::byte>)
SL_MESSAGE(Configure);
SL_MESSAGE(Submit);
SL_MESSAGE(Cancel);
SL_MESSAGE(Pause);
SL_MESSAGE(Resume);
SL_MESSAGE(Shutdown);
SL_MESSAGE(Progress);
SL_MESSAGE(Ready);
SL_MESSAGE(Tokens);
SL_MESSAGE(Prompt);
SL_MESSAGE(Finished);
SL_MESSAGE(Failed);
SL_MESSAGE(StepReport);
SL_MESSAGE(StepPlan);
#undef SL_MESSAGE

}  // namespace shardline
