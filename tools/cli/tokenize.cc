// shardline tokenize: text from standard input to ids, with a vocabulary from a file or by a
// server.
#include <functional>
#include <ostream>

#include "gateway/text/tokenizer/tokenizer.h"
#include "gateway/text/utf8.h"
#include "shardline/v1/inference.grpc.pb.h"
#include "shared/base/quoted.h"
#include "tools/cli/client.h"
#include "tools/cli/commands.h"
#include "tools/cli/input.h"
#include "tools/cli/json.h"
#include "tools/cli/options.h"

namespace shardline::cli {
namespace {

struct Flags {
  std::string target;
  std::string tokenizer;
  std::optional<bool> add_special_tokens;
  std::optional<bool> parse_special_tokens;
  bool lines = false;
};

// One text's ids; writes what went wrong ("where: …") and sets `end` otherwise.
using Encode = std::function<std::vector<uint32_t>(const std::string& text,
                                                   const std::string& where, int& end)>;

void WriteError(Streams& streams, const std::string& where, const std::string& text) {
  Fail(streams, "tokenize", Cat(where, ": ", text));
}

Encode WithFile(const Tokenizer& tokenizer, const Flags& flags, Streams& streams) {
  EncodeOptions options;
  options.add_special_tokens = flags.add_special_tokens.value_or(true);
  options.parse_special_tokens = flags.parse_special_tokens.value_or(true);
  return [&tokenizer, &streams, options](const std::string& text, const std::string& where,
                                         int& end) -> std::vector<uint32_t> {
    absl::StatusOr<std::vector<uint32_t>> ids = tokenizer.Encode(text, options);
    if (ids.ok()) return *std::move(ids);
    WriteError(streams, where, Message(ids.status()));
    end = kBadInput;
    return {};
  };
}

Encode WithServer(const Flags& flags, Streams& streams) {
  std::shared_ptr<v1::Inference::Stub> stub = v1::Inference::NewStub(Connect(flags.target));
  return [stub, flags, &streams](const std::string& text, const std::string& where,
                                 int& end) -> std::vector<uint32_t> {
    if (!IsWellFormedUtf8(text)) {
      WriteError(streams, where, "not UTF-8, which a server takes alone; use --tokenizer FILE");
      end = kBadInput;
      return {};
    }
    v1::TokenizeRequest request;
    request.set_text(text);
    if (flags.add_special_tokens) request.set_add_special_tokens(*flags.add_special_tokens);
    if (flags.parse_special_tokens) request.set_parse_special_tokens(*flags.parse_special_tokens);
    grpc::ClientContext context;
    SetUnaryDeadline(context);
    v1::TokenizeResponse response;
    const grpc::Status status = stub->Tokenize(&context, request, &response);
    if (!status.ok()) {
      end = Report(Cat("tokenize: ", where), flags.target, status, streams);
      return {};
    }
    return {response.token_ids().begin(), response.token_ids().end()};
  };
}

void WriteIds(const std::vector<uint32_t>& ids, std::ostream& out) {
  std::string line = "{\"ids\":[";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) line += ',';
    line += std::to_string(ids[i]);
  }
  out << line << "]}\n" << std::flush;
}

// Each line a JSON string.
int EncodeLines(const Encode& encode, Streams& streams) {
  std::string line;
  for (uint64_t number = 1;; ++number) {
    const std::string where = Cat("line ", number);
    const absl::StatusOr<bool> more = ReadLine(streams.in, line);
    if (!more.ok()) {
      WriteError(streams, where, Message(more.status()));
      return kBadInput;
    }
    if (!*more) return kDone;
    const nlohmann::ordered_json json = ParseJson(line);
    if (!json.is_string()) {
      WriteError(streams, where, json.is_discarded() ? "not valid JSON" : "not a JSON string");
      return kBadInput;
    }
    int end = kDone;
    const std::vector<uint32_t> ids = encode(json.get_ref<const std::string&>(), where, end);
    if (end != kDone) return end;
    WriteIds(ids, streams.out);
  }
}

int EncodeAll(const Encode& encode, Streams& streams) {
  const absl::StatusOr<std::string> text = ReadAll(streams.in);
  if (!text.ok()) {
    WriteError(streams, "standard input", Message(text.status()));
    return kBadInput;
  }
  int end = kDone;
  const std::vector<uint32_t> ids = encode(*text, "standard input", end);
  if (end == kDone) WriteIds(ids, streams.out);
  return end;
}

}  // namespace

int Tokenize(const Arguments& arguments, Streams& streams) {
  Flags flags;
  Options options("tokenize", "tokenize [--tokenizer FILE] [--lines] < TEXT",
                  "Prints the token ids of standard input, taken byte for byte, as {\"ids\":[…]}.");
  AddTarget(options, flags.target);
  options.Text(
      "tokenizer", "FILE",
      "a .gguf file, a tokenizer.json, a .model file or their directory: no server is asked",
      [&](const std::string& text) { flags.tokenizer = text; });
  options.Switch("add-special-tokens", "BOS and EOS as the vocabulary wants them (default true)",
                 [&](bool value) { flags.add_special_tokens = value; });
  options.Switch("parse-special-tokens",
                 "special tokens in the text become their ids (default true)",
                 [&](bool value) { flags.parse_special_tokens = value; });
  options.Switch("lines", "each line is a JSON string and gives one line of output",
                 [&](bool value) { flags.lines = value; });
  std::optional<int> end;
  const Arguments rest = options.Parse(arguments, streams, end);
  if (end) return *end;
  if (!rest.empty()) {
    return Fail(streams, "tokenize",
                Cat("unexpected argument ", Quoted(rest[0]), ": the text is standard input"));
  }
  std::unique_ptr<Tokenizer> tokenizer;
  if (!flags.tokenizer.empty()) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> loaded = LoadTokenizer(flags.tokenizer);
    if (!loaded.ok()) {
      WriteError(streams, "--tokenizer", Message(loaded.status()));
      return kBadInput;
    }
    tokenizer = *std::move(loaded);
  }
  const Encode encode =
      tokenizer ? WithFile(*tokenizer, flags, streams) : WithServer(flags, streams);
  return flags.lines ? EncodeLines(encode, streams) : EncodeAll(encode, streams);
}

}  // namespace shardline::cli
