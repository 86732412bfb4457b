// `tokenize --tokenizer` and `render`, which need no server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include "tests/shared/format/gguf_bytes.h"
#include "tools/cli/commands.h"

namespace shardline::cli {
namespace {

using ::testing::HasSubstr;

struct Result {
  int code;
  std::string out, err;
};
Result Call(int (*command)(const Arguments&, Streams&), const Arguments& arguments,
            const std::string& in) {
  std::istringstream input(in);
  std::ostringstream out, err;
  Streams streams{input, out, err};
  const int code = command(arguments, streams);
  return {code, out.str(), err.str()};
}

std::string Write(const std::string& name, std::string_view text) {
  const std::string path = testing::TempDir() + "/cli_" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

// A vocabulary without tensors: the 256 bytes in GPT-2's alphabet, "hi", and two control tokens.
std::string Vocabulary() {
  auto byte_token = [](int byte) {
    static int next = 0;
    if (byte == 0) next = 256;
    const bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int point = plain ? byte : next++;
    std::string text;
    if (point < 0x80) return text += static_cast<char>(point);
    text += static_cast<char>(0xc0 | (point >> 6));
    return text += static_cast<char>(0x80 | (point & 0x3f));
  };
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_token(byte));
  tokens.insert(tokens.end(), {"hi", "<|bos|>", "<|eos|>"});
  GgufBytes b;
  b.Header(0, 9).Text("general.architecture", "llama").Text("tokenizer.ggml.model", "gpt2");
  b.Text("tokenizer.ggml.pre", "gpt-2");
  b.ArrayOf("tokenizer.ggml.tokens", kGgufString, tokens.size());
  for (const std::string& token : tokens) b.String(token);
  b.ArrayOf("tokenizer.ggml.token_type", kGgufI32, tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) b.Put<int32_t>(i < 257 ? 1 : 3);
  b.ArrayOf("tokenizer.ggml.merges", kGgufString, 1).String("h i");
  b.Value<uint32_t>("tokenizer.ggml.bos_token_id", kGgufU32, 257);
  b.Value<uint32_t>("tokenizer.ggml.eos_token_id", kGgufU32, 258);
  b.Value<uint8_t>("tokenizer.ggml.add_bos_token", kGgufBool, 1);
  return Write("vocabulary.gguf",
               {reinterpret_cast<const char*>(b.span().data()), b.span().size()});
}

TEST(TokenizeCommand, PrintsIds) {
  const std::string tokenizer = "--tokenizer=" + Vocabulary();
  const Result all = Call(Tokenize, {tokenizer}, "hi\n");
  EXPECT_EQ(all.code, kDone) << all.err;
  EXPECT_EQ(all.out, "{\"ids\":[257,256,10]}\n");
  EXPECT_EQ(Call(Tokenize, {tokenizer, "--add-special-tokens=false"}, "hi").out,
            "{\"ids\":[256]}\n");
  EXPECT_EQ(Call(Tokenize, {tokenizer, "--no-add-special-tokens"}, "").out, "{\"ids\":[]}\n");
  EXPECT_EQ(Call(Tokenize, {tokenizer, "--add-special-tokens=false"}, "hi<|eos|>").out,
            "{\"ids\":[256,258]}\n");
  EXPECT_EQ(Call(Tokenize,
                 {tokenizer, "--add-special-tokens=false", "--parse-special-tokens=false"}, "<|")
                .out,
            "{\"ids\":[60,124]}\n");
}

TEST(TokenizeCommand, TakesLinesOfJson) {
  const Result lines =
      Call(Tokenize, {"--tokenizer", Vocabulary(), "--lines", "--add-special-tokens=false"},
           "\"hi\"\r\n\"\"\n\"\\u0041\\n\"");
  EXPECT_EQ(lines.code, kDone) << lines.err;
  EXPECT_EQ(lines.out, "{\"ids\":[256]}\n{\"ids\":[]}\n{\"ids\":[65,10]}\n");
}

TEST(TokenizeCommand, NamesTheBadLine) {
  const std::string tokenizer = "--tokenizer=" + Vocabulary();
  const std::pair<std::string, const char*> cases[] = {
      {"\"hi\"\n3\n", "line 2: not a JSON string"},
      {"\"hi\"\n\n", "line 2: not valid JSON"},
      {"\"\\ud800\"\n", "line 1: not valid JSON"},
      {"\"hi\" \"hi\"\n", "line 1: not valid JSON"},
      {"\"\xff\"\n", "line 1: not valid JSON"},
      {std::string(200000, '['), "line 1: not valid JSON"},
  };
  for (const auto& [in, expected] : cases) {
    const Result result = Call(Tokenize, {tokenizer, "--lines", "--add-special-tokens=false"}, in);
    EXPECT_EQ(result.code, kBadInput) << in.substr(0, 20);
    EXPECT_EQ(result.err, std::string("shardline tokenize: ") + expected + "\n");
  }
}

TEST(TokenizeCommand, RefusesBadArguments) {
  EXPECT_EQ(Call(Tokenize, {"--tokenizer=/nonexistent.gguf"}, "").code, kBadInput);
  EXPECT_THAT(Call(Tokenize, {"--tokenizer=/nonexistent.gguf"}, "").err,
              HasSubstr("/nonexistent.gguf"));
  EXPECT_EQ(Call(Tokenize, {"word"}, "").code, kBadInput);
  EXPECT_EQ(Call(Tokenize, {"--tokenizer"}, "").code, kBadInput);
}

TEST(RenderCommand, PrintsTheRenderingAlone) {
  const std::string path = Write("template.jinja",
                                 "{% for m in messages %}\n"
                                 "  {% if loop.index == 3 %}{% break %}{% endif %}\n"
                                 "[{{ m.role }}] {{ m.content }}\n"
                                 "{% endfor %}\n"
                                 "{{ x | tojson }}");
  const Result result = Call(Render, {"--template", path},
                             R"({"messages": [{"role": "user", "content": "a"},
                                 {"role": "b", "content": "c"}, {"role": "d"}],
                                 "x": {"z": 1, "a": [18446744073709551616, 1.5]}})");
  EXPECT_EQ(result.code, kDone) << result.err;
  EXPECT_EQ(result.out, "[user] a\n[b] c\n{\"z\": 1, \"a\": [18446744073709551616, 1.5]}");
}

TEST(RenderCommand, TellsTheGivenTime) {
  setenv("TZ", "UTC-2", 1);  // two hours east
  tzset();
  const std::string path = Write("now.jinja", "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}");
  const std::pair<const char*, const char*> cases[] = {
      {"2024-07-26", "2024-07-26 00:00:00"},
      {"2024-07-26T09:30", "2024-07-26 09:30:00"},
      {"2024-07-26 09:30:05.5", "2024-07-26 09:30:05"},
      {"2024-07-26T09:30:05Z", "2024-07-26 11:30:05"},
      {"2024-12-31T23:30:00+01:00", "2025-01-01 00:30:00"},
      {"2024-02-29T09:30:05-0530", "2024-02-29 17:00:05"},
      {"1969-12-31T23:59:59+02", "1969-12-31 23:59:59"},
  };
  for (const auto& [now, expected] : cases) {
    const Result result = Call(Render, {"--template", path, "--now", now}, "{}");
    EXPECT_EQ(result.code, kDone) << result.err;
    EXPECT_EQ(result.out, expected) << now;
  }
  for (const char* now :
       {"", "now", "2024", "2024-13-01", "2024-02-30", "2024-07-26T", "2024-07-26T9",
        "2024-07-26T24:00", "2024-07-26T09:30:", "2024-07-26T09:30+1", "2024-07-26T09:30+25:00",
        "2024-07-26T09:30x", "1677-12-31", "2262-01-01"}) {
    const Result result = Call(Render, {"--template", path, "--now", now}, "{}");
    EXPECT_EQ(result.code, kBadInput) << now;
    EXPECT_THAT(result.err, HasSubstr("--now: ")) << now;
  }
}

TEST(RenderCommand, ErrorsAreOneLine) {
  const std::string good = Write("good.jinja", "x");
  const std::string broken = Write("broken.jinja", "{% if %}");
  const std::string raising = Write("raising.jinja", "{{ raise_exception('no\\nway') }}");
  const struct {
    Arguments arguments;
    std::string in;
    const char* expected;
  } cases[] = {
      {{}, "{}", "--template FILE is needed"},
      {{"--template", "/nonexistent"}, "{}", "/nonexistent: cannot be read"},
      {{"--template", testing::TempDir()}, "{}", "cannot be read"},
      {{"--template", good, "extra"}, "{}", "unexpected argument 'extra'"},
      {{"--template", good}, "[]", "standard input: must be a JSON object"},
      {{"--template", good}, "{} {}", "standard input: not valid JSON at byte 4"},
      {{"--template", good}, "", "standard input: not valid JSON at byte 1"},
      {{"--template", good}, std::string(100000, '['), "standard input: nested deeper than"},
      {{"--template", broken}, "{}", "broken.jinja: "},
      {{"--template", raising}, "{}", "way"},
  };
  for (const auto& [arguments, in, expected] : cases) {
    const Result result = Call(Render, arguments, in);
    EXPECT_EQ(result.code, kBadInput) << expected;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr(expected));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
}

TEST(InspectCommand, ShowsGguf) {
  const std::string path = Vocabulary();
  const Result table = Call(Inspect, {path}, "");
  EXPECT_EQ(table.code, kDone) << table.err;
  EXPECT_THAT(table.out, HasSubstr("\ngeneral.architecture          \"llama\"\n"));
  EXPECT_THAT(table.out, HasSubstr("\ntokenizer.ggml.token_type     [1, 1, 1, 1, …] 259 values\n"));
  EXPECT_THAT(table.out, HasSubstr("\nall         0           0      0\n"));
  const Result json = Call(Inspect, {path, "--json"}, "");
  EXPECT_THAT(json.out, HasSubstr("\"tokenizer.ggml.add_bos_token\":true"));
  EXPECT_THAT(json.out, HasSubstr("\"tokenizer.ggml.merges\":[\"h i\"]"));
  const std::string model = SHARDLINE_SOURCE_DIR "/tests/golden/gguf_q8_0/model.gguf";
  EXPECT_THAT(Call(Inspect, {model}, "").out, HasSubstr("\nQ8_0 "));
  EXPECT_THAT(Call(Inspect, {model, "--json"}, "").out, HasSubstr("rms_epsilon\":1e-05"));
}

TEST(InspectCommand, ShowsSafetensors) {
  const std::string directory = SHARDLINE_SOURCE_DIR "/tests/golden/llama";
  const Result table = Call(Inspect, {directory}, "");
  EXPECT_EQ(table.code, kDone) << table.err;
  EXPECT_THAT(table.out, HasSubstr("\nrms_norm_eps             1e-05\n"));
  EXPECT_THAT(table.out, HasSubstr("\nmodel.layers.0.self_attn.k_proj.weight          BF16  [32, "
                                   "64]    4096\n"));
  EXPECT_THAT(table.out, HasSubstr("\nall        30      118208  236416\n"));
  const Result json = Call(Inspect, {directory + "/model.safetensors", "--json"}, "");
  EXPECT_THAT(json.out, HasSubstr("\"metadata\":{\"format\":\"pt\"}"));
  EXPECT_THAT(json.out, HasSubstr("{\"name\":\"lm_head.weight\",\"type\":\"BF16\",\"shape\":[128,"
                                  "64],\"parameters\":8192,\"bytes\":16384}"));
  EXPECT_THAT(json.out, HasSubstr("\"parameters\":118208,\"bytes\":236416}\n"));
}

TEST(InspectCommand, ErrorsAreOneLine) {
  const std::string cut = Write("cut.safetensors", std::string("\xff\0\0\0\0\0\0\0{", 9));
  const std::string text = Write("text", "GG");
  for (const Arguments& arguments :
       {Arguments{}, {"a", "b"}, {"/nonexistent"}, {cut}, {text}, {testing::TempDir()}}) {
    const Result result = Call(Inspect, arguments, "");
    EXPECT_EQ(result.code, kBadInput);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
}

}  // namespace
}  // namespace shardline::cli
