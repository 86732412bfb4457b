// The flat messages between gateway and worker: ids and numbers, never text (but for names and
// error lines). Each is a trivially copyable header followed by its arrays; Encode writes one
// record for the channel, Decode checks every count against the bytes at hand before it reads.
//
//   gateway → worker   Configure, Submit, Cancel, Pause, Resume, Shutdown
//   worker → gateway   Progress, Ready, Tokens, Prompt, Finished, Failed, StepReport
//
// Fields marked "reserved" are zero until a later ABI gives them a meaning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "shared/base/status.h"
#include "shared/ipc/step_plan.h"

namespace shardline {

inline constexpr uint32_t kAbiVersion = 2;

enum class MessageKind : uint16_t {
  kConfigure = 1,
  kSubmit = 2,
  kCancel = 3,
  kPause = 4,
  kResume = 5,
  kShutdown = 6,
  kProgress = 64,
  kReady = 65,
  kTokens = 66,
  kPrompt = 67,
  kFinished = 68,
  kFailed = 69,
  kStepReport = 70,
  kStepPlan = 96,  // from rank 0 to the other ranks of its group
};

// The gateway's number for a live request; never reused within one worker epoch.
using RequestKey = uint64_t;

// ---- gateway → worker ----

// First message on a new channel.
struct Configure {
  std::vector<uint32_t> eos_ids;  // what ends an output unless Submit says ignore_eos
};

struct FlatSampling {
  float temperature, top_p, min_p, typical_p;
  float repetition_penalty, frequency_penalty, presence_penalty;
  uint32_t top_k;         // 0: off
  int32_t repeat_last_n;  // -1: all
  uint32_t reserved;
  uint64_t seed;
};

enum SubmitFlags : uint32_t {
  kIgnoreEos = 1u << 0,
  kWantLogprobs = 1u << 1,  // of output tokens
  kWantPromptLogprobs = 1u << 2,
};

struct SubmitHeader {
  RequestKey key;
  uint64_t trace_id[2];   // reserved
  uint64_t deadline_ns;   // reserved: the gateway itself ends what is late
  uint64_t salt_hash;     // reserved
  uint32_t model_id;      // reserved
  uint32_t adapter_id;    // reserved
  uint32_t mask_program;  // reserved
  int32_t priority;
  uint32_t outputs;         // n
  uint32_t max_new_tokens;  // resolved by the gateway: prompt + max_new_tokens fits the context
  uint32_t min_new_tokens;
  uint32_t top_logprobs;
  uint32_t flags;       // SubmitFlags
  uint32_t reply_kind;  // reserved: 0 tokens
  FlatSampling sampling;
};

struct LogitBias {
  uint32_t id;
  float bias;
};

struct Submit {
  SubmitHeader header{};
  std::vector<uint32_t> prompt;   // one span of token ids; other span kinds are reserved
  std::vector<uint32_t> emitted;  // output tokens that the client already has (resumed requests)
  std::vector<uint32_t> stop_token_ids;
  std::vector<LogitBias> logit_bias;
};

// Ends one output, or all of them; what it held is free by the next step. Unknown keys are no
// error.
inline constexpr uint32_t kAllOutputs = 0xffffffffu;
struct Cancel {
  RequestKey key;
  uint32_t output_index;  // or kAllOutputs
  uint32_t reserved;
};

// Pause: the request's reader is behind, its sequences are not scheduled and keep what they hold.
struct Pause {
  RequestKey key;
};
struct Resume {
  RequestKey key;
};

struct Shutdown {  // finish the step at hand, then exit 0
  uint64_t reserved;
};

// ---- worker → gateway ----

struct Progress {     // while loading, and within a step that takes long
  double fraction;    // 0..1
  std::string phase;  // "reading weights"
};

struct ReadyHeader {
  uint64_t epoch;
  uint32_t vocabulary_size;
  uint32_t context_tokens;  // longest prompt + output that this worker can hold
  uint32_t max_sequences;
  uint32_t max_batch_tokens;
  uint32_t block_tokens;
  uint32_t batch_invariant;
  uint64_t kv_blocks_total;  // of the fullest group
  uint64_t kv_bytes;
  uint64_t weight_bytes;
  double load_seconds;
};
struct Ready {
  ReadyHeader header{};
  std::string family, dtype, arithmetic, quantisation, instruction_set;
  std::string capabilities;  // of the model's family: "generate, logprobs"
};

struct TokenRecord {
  uint32_t id;
  float logprob;  // NaN: none (not asked for, or a prompt's first token)
  uint32_t rank;  // 1 = likeliest; 0: none
  uint32_t reserved;
};
struct CandidateRecord {
  uint32_t id;
  float logprob;
};

// Output tokens of one output, in order. `top` holds tokens.size() * top_count candidates.
struct TokensHeader {
  RequestKey key;
  uint32_t output_index;
  uint32_t first_index;  // index of the first of these tokens in the output
  uint32_t top_count;
  uint32_t reserved;
};
struct Tokens {
  TokensHeader header{};
  std::vector<TokenRecord> tokens;
  std::vector<CandidateRecord> top;
};

// Prompt tokens' logprobs, in order of position, each position once.
struct PromptHeader {
  RequestKey key;
  uint32_t first_position;
  uint32_t top_count;  // the first position of a prompt has TokenRecord.logprob NaN and its
                       // candidates' ids unset (0, NaN)
};
struct Prompt {
  PromptHeader header{};
  std::vector<TokenRecord> tokens;
  std::vector<CandidateRecord> top;
};

enum class FlatFinish : uint32_t { kEos = 1, kStopToken = 2, kLength = 3, kCancelled = 4 };
struct Finished {  // one output; the request is gone from the worker when all its outputs are
  RequestKey key;
  uint32_t output_index;
  FlatFinish reason;
  uint32_t stop_token_id;  // for kEos and kStopToken
  uint32_t output_tokens;
  uint32_t cached_prompt_tokens;
  uint32_t reserved;
};

enum class FlatError : uint32_t {
  kNonFiniteLogits = 1,
  kDeadline = 2,
  kInternal = 3,
  kOverloaded = 4
};
struct Failed {  // ends all outputs of the request
  RequestKey key;
  FlatError code;
  std::string message;
};

struct StepReport {  // after every step, and after every change of what is running
  uint64_t epoch;
  uint64_t step;            // steps finished since start
  uint64_t finished_at_ns;  // CLOCK_MONOTONIC
  uint64_t step_ns;
  uint32_t step_tokens;
  uint32_t running_sequences;
  uint32_t waiting_sequences;  // handed over but not yet running, or preempted
  uint32_t free_sequences;     // sequence slots
  uint64_t kv_blocks_used;
  uint64_t kv_blocks_total;
  uint64_t preemptions;  // since start
  uint64_t submitted;    // Submit messages taken since start: tells what this report already counts
};

static_assert(std::is_trivially_copyable_v<SubmitHeader> &&
              std::is_trivially_copyable_v<StepReport>);
static_assert(sizeof(FlatSampling) == 48 && sizeof(SubmitHeader) == 128 &&
              sizeof(StepReport) == 80);

// ---- encoding ----

// The largest payload of one record. Encode never fails; a sender keeps within this limit.
inline constexpr size_t kMaxMessageBytes = size_t{8} << 20;

template <typename T>
constexpr MessageKind KindOf();
// clang-format off
template <> constexpr MessageKind KindOf<Configure>() { return MessageKind::kConfigure; }
template <> constexpr MessageKind KindOf<Submit>() { return MessageKind::kSubmit; }
template <> constexpr MessageKind KindOf<Cancel>() { return MessageKind::kCancel; }
template <> constexpr MessageKind KindOf<Pause>() { return MessageKind::kPause; }
template <> constexpr MessageKind KindOf<Resume>() { return MessageKind::kResume; }
template <> constexpr MessageKind KindOf<Shutdown>() { return MessageKind::kShutdown; }
template <> constexpr MessageKind KindOf<Progress>() { return MessageKind::kProgress; }
template <> constexpr MessageKind KindOf<Ready>() { return MessageKind::kReady; }
template <> constexpr MessageKind KindOf<Tokens>() { return MessageKind::kTokens; }
template <> constexpr MessageKind KindOf<Prompt>() { return MessageKind::kPrompt; }
template <> constexpr MessageKind KindOf<Finished>() { return MessageKind::kFinished; }
template <> constexpr MessageKind KindOf<Failed>() { return MessageKind::kFailed; }
template <> constexpr MessageKind KindOf<StepReport>() { return MessageKind::kStepReport; }
template <> constexpr MessageKind KindOf<StepPlan>() { return MessageKind::kStepPlan; }
// clang-format on

// "Submit"; "" for a number that is no kind.
std::string_view Name(MessageKind kind);
inline bool IsMessageKind(uint16_t kind) { return !Name(static_cast<MessageKind>(kind)).empty(); }

// One record's payload; replaces `out`.
template <typename T>
void Encode(const T& message, std::vector<std::byte>& out);
// Errors: InvalidArgument naming the kind and what does not fit. Checks lengths and enumerations,
// not meaning: ids and numbers are the receiver's to check.
template <typename T>
absl::StatusOr<T> Decode(std::span<const std::byte> payload);

}  // namespace shardline
