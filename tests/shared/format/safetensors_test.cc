#include "shared/format/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace shardline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::byte> Bytes(std::string_view header, size_t data,
                             std::optional<uint64_t> header_bytes = std::nullopt) {
  const uint64_t length = header_bytes.value_or(header.size());
  std::vector<std::byte> out(sizeof(length) + header.size() + data);
  std::memcpy(out.data(), &length, sizeof(length));
  std::memcpy(out.data() + sizeof(length), header.data(), header.size());
  return out;
}

constexpr char kValid[] =
    R"({"__metadata__": {"format": "pt"},)"
    R"( "b": {"dtype": "BF16", "shape": [3, 2], "data_offsets": [8, 20]},)"
    R"( "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},)"
    R"( "scalar": {"dtype": "I64", "shape": [], "data_offsets": [20, 28]},)"
    R"( "none": {"dtype": "F8_E4M3", "shape": [0, 7], "data_offsets": [20, 20]}}   )";

TEST(Safetensors, ReadsAFile) {
  const std::vector<std::byte> bytes = Bytes(kValid, 28);
  const auto file = SafetensorsCheckpoint::Parse(bytes, "x.safetensors");
  ASSERT_TRUE(file.ok()) << Message(file.status());
  ASSERT_EQ((*file)->tensors().size(), 4u);
  EXPECT_EQ((*file)->tensors()[0].name, "b");
  const SafetensorsTensor* b = (*file)->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->type, SafetensorsType::kBF16);
  EXPECT_EQ(b->type_name, "BF16");
  EXPECT_THAT(b->shape, ElementsAre(3, 2));
  EXPECT_EQ(b->data.data(), bytes.data() + bytes.size() - 20);
  EXPECT_EQ(b->data.size(), 12u);
  EXPECT_THAT((*file)->Find("scalar")->shape, IsEmpty());
  EXPECT_EQ((*file)->Find("none")->type, SafetensorsType::kOther);
  EXPECT_EQ((*file)->Find("none")->type_name, "F8_E4M3");
  EXPECT_EQ((*file)->Find("c"), nullptr);
}

TEST(Safetensors, ReadsAFileWithoutTensors) {
  const std::vector<std::byte> bytes = Bytes("{}", 0);
  EXPECT_TRUE(SafetensorsCheckpoint::Parse(bytes, "x").ok());
}

struct Lie {
  const char* name;
  std::vector<std::byte> bytes;
  const char* expected;
};

// A header whose one tensor "t" has these members.
std::vector<std::byte> One(const std::string& members, size_t data = 8) {
  return Bytes(R"({"t": {)" + members + "}}", data);
}
std::string Repeat(std::string_view part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

std::vector<Lie> Lies() {
  const std::string ok = R"("dtype": "F32", "shape": [2], "data_offsets": [0, 8])";
  auto offsets = [](const std::string& pair) {
    return R"("dtype": "F32", "shape": [2], "data_offsets": )" + pair;
  };
  auto shape = [](const std::string& shape) {
    return R"("dtype": "F32", "data_offsets": [0, 8], "shape": )" + shape;
  };
  return {
      {"empty", {}, "truncated: no header length"},
      {"seven bytes", std::vector<std::byte>(7), "truncated: no header length"},
      {"header of exabytes", Bytes(kValid, 28, uint64_t{1} << 62), "is larger than"},
      {"header of 2^64-1", Bytes(kValid, 28, ~uint64_t{0}), "is larger than"},
      {"header past the end", Bytes("{}", 0, 3), "truncated: header of 3 bytes"},
      {"header of nothing", Bytes("{}", 0, 0), "does not start with '{'"},
      {"header is an array", Bytes("[]", 0), "does not start with '{'"},
      {"space in front", Bytes(" {}", 0), "does not start with '{'"},
      {"broken JSON", Bytes(R"({"t": )", 0), "broken JSON at byte"},
      {"text after the header", Bytes("{} x", 0), "broken JSON"},
      {"invalid UTF-8", Bytes("{\"\xff\": 1}", 0), "broken JSON"},
      {"deep arrays", Bytes(R"({"t": )" + Repeat("[", 100000), 0), "array in an unexpected place"},
      {"deep objects", Bytes(Repeat(R"({"t": )", 100000), 0), "unknown member 't'"},
      {"deep shape", One(R"("shape": )" + Repeat("[", 100000)), "array in an unexpected place"},
      {"deep metadata", Bytes(R"({"__metadata__": )" + Repeat(R"({"a": )", 100000), 0), "object"},
      {"tensor is a number", Bytes(R"({"t": 1})", 0), "tensor 't': is a number, not an object"},
      {"tensor is null", Bytes(R"({"t": null})", 0), "tensor 't': is null"},
      {"tensor is a string", Bytes(R"({"t": "F32"})", 0), "tensor 't': is a string"},
      {"tensor twice", Bytes(R"({"t": {)" + ok + R"(}, "t": {)" + ok + "}}", 8),
       "'t' appears twice"},
      {"no name", Bytes(R"({"": {)" + ok + "}}", 8), "empty name"},
      {"metadata twice", Bytes(R"({"__metadata__": {}, "__metadata__": {}})", 0), "appears twice"},
      {"metadata number", Bytes(R"({"__metadata__": {"a": 1}})", 0),
       "__metadata__: holds a number"},
      {"metadata key twice", Bytes(R"({"__metadata__": {"a": "", "a": ""}})", 0), "appears twice"},
      {"metadata is a list", Bytes(R"({"__metadata__": ["a"]})", 0), "__metadata__: an array"},
      {"no dtype", One(R"("shape": [2], "data_offsets": [0, 8])"), "needs dtype, shape and"},
      {"no shape", One(R"("dtype": "F32", "data_offsets": [0, 8])"), "needs dtype, shape and"},
      {"no offsets", One(R"("dtype": "F32", "shape": [2])"), "needs dtype, shape and"},
      {"no members", One(""), "needs dtype, shape and"},
      {"member twice", One(ok + R"(, "dtype": "F32")"), "dtype appears twice"},
      {"unknown member", One(ok + R"(, "strides": [1])"), "unknown member 'strides'"},
      {"unknown dtype", One(R"("dtype": "F7", "shape": [2], "data_offsets": [0, 8])"),
       "tensor 't': unknown dtype 'F7'"},
      {"dtype a number", One(R"("dtype": 7, "shape": [2], "data_offsets": [0, 8])"), "dtype holds"},
      {"dtype null", One(R"("dtype": null, "shape": [2], "data_offsets": [0, 8])"), "dtype holds"},
      {"dtype in another case", One(R"("dtype": "f32", "shape": [2], "data_offsets": [0, 8])"),
       "unknown dtype 'f32'"},
      {"shape a number", One(shape("2")), "shape holds a number"},
      {"shape negative", One(shape("[-2]")), "shape holds a negative number"},
      {"shape fraction", One(shape("[2.0]")), "shape holds the number 2.0"},
      {"shape exponent", One(shape("[2e0]")), "shape holds the number 2e0"},
      {"shape of strings", One(shape(R"(["2"])")), "shape holds a string"},
      {"shape of booleans", One(shape("[true]")), "shape holds a boolean"},
      {"shape 2^63", One(shape("[9223372036854775808]")), "too large"},
      {"shape past 2^64", One(shape("[99999999999999999999]")), "shape holds the number"},
      {"shape overflow", One(shape("[4294967296, 4294967296]")), "overflows"},
      {"shape wraps to 8 bytes", One(shape("[2, 9223372036854775807, 9223372036854775807]")),
       "overflows"},
      {"too many dimensions", One(shape("[1" + Repeat(", 1", 100) + "]")), "more than 16 entries"},
      {"offsets a number", One(offsets("8")), "data_offsets holds a number"},
      {"one offset", One(offsets("[0]")), "data_offsets must be [begin, end]"},
      {"three offsets", One(offsets("[0, 8, 8]")), "data_offsets must be [begin, end]"},
      {"offset negative", One(offsets("[-8, 0]")), "data_offsets holds a negative number"},
      {"offset fraction", One(offsets("[0, 8.5]")), "data_offsets holds the number 8.5"},
      {"offsets swapped", One(offsets("[8, 0]")), "not inside the data section"},
      {"offset past the end", One(offsets("[8, 16]")), "not inside the data section of 8 bytes"},
      {"offset 2^63-1", One(offsets("[0, 9223372036854775807]")), "not inside the data section"},
      {"too few bytes", One(offsets("[0, 4]")), "span 4 bytes, its dtype and shape need 8"},
      {"too many bytes", One(offsets("[0, 16]"), 16), "span 16 bytes"},
      {"hole in front", One(offsets("[8, 16]"), 16), "(hole)"},
      {"data left over", One(ok, 12), "tensors end at 8, its data section at 12"},
      {"overlap", Bytes(R"({"t": {)" + ok + R"(}, "u": {)" + offsets("[4, 12]") + "}}", 12),
       "(overlap)"},
      {"same place", Bytes(R"({"t": {)" + ok + R"(}, "u": {)" + ok + "}}", 8), "(overlap)"},
      {"unprintable name", Bytes("{\"a\\nb\": 1}", 0), "'a\\x0ab'"},
  };
}

TEST(Safetensors, RefusesEveryLieInOneLine) {
  for (const Lie& lie : Lies()) {
    SCOPED_TRACE(lie.name);
    const auto file = SafetensorsCheckpoint::Parse(lie.bytes, "x.safetensors");
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(file.status()), StartsWith("x.safetensors: "));
    EXPECT_THAT(Message(file.status()), HasSubstr(lie.expected));
    EXPECT_THAT(Message(file.status()), Not(HasSubstr("\n")));
  }
}

TEST(Safetensors, RefusesEveryTruncationOfAValidFile) {
  const std::vector<std::byte> bytes = Bytes(kValid, 28);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_FALSE(SafetensorsCheckpoint::Parse(part, "x").ok()) << size;
  }
}

// A directory of its own for each test.
class SafetensorsDirectory : public testing::Test {
 protected:
  SafetensorsDirectory()
      : path_(testing::TempDir() + "/safetensors_" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~SafetensorsDirectory() override { std::filesystem::remove_all(path_); }

  void Write(const std::string& name, const std::vector<std::byte>& bytes) {
    std::ofstream(path_ + "/" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  // A file whose one tensor `tensor` is [2] of F32.
  void WriteTensor(const std::string& name, const std::string& tensor) {
    Write(name,
          Bytes("{\"" + tensor + R"(": {"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8));
  }
  void WriteIndex(const std::string& text) {
    std::ofstream(path_ + "/model.safetensors.index.json") << text;
  }
  std::string Error() {
    const auto opened = SafetensorsCheckpoint::Open(path_);
    EXPECT_FALSE(opened.ok());
    EXPECT_THAT(Message(opened.status()), StartsWith(path_));
    EXPECT_THAT(Message(opened.status()), Not(HasSubstr("\n")));
    return Message(opened.status());
  }

  const std::string path_;
};

TEST_F(SafetensorsDirectory, OpensASingleFile) {
  WriteTensor("model.safetensors", "a");
  const auto opened = SafetensorsCheckpoint::Open(path_);
  ASSERT_TRUE(opened.ok()) << Message(opened.status());
  EXPECT_NE((*opened)->Find("a"), nullptr);
}

TEST_F(SafetensorsDirectory, OpensShards) {
  WriteTensor("one.safetensors", "a");
  WriteTensor("two.safetensors", "b");
  WriteIndex(R"({"metadata": {"total_size": 16, "list": [1, {"x": [null, true, -1.5]}]},
                 "weight_map": {"b": "two.safetensors", "a": "one.safetensors"}})");
  const auto opened = SafetensorsCheckpoint::Open(path_);
  ASSERT_TRUE(opened.ok()) << Message(opened.status());
  EXPECT_EQ((*opened)->tensors().size(), 2u);
  EXPECT_EQ((*opened)->Find("b")->data.size(), 8u);
}

TEST_F(SafetensorsDirectory, RefusesAnEmptyDirectory) {
  EXPECT_THAT(Error(), HasSubstr("has neither model.safetensors nor"));
}

TEST_F(SafetensorsDirectory, RefusesFilesThatDoNotAgreeWithTheIndex) {
  WriteTensor("one.safetensors", "a");
  WriteTensor("two.safetensors", "b");
  WriteTensor("again.safetensors", "a");
  WriteIndex(R"({"weight_map": {"a": "one.safetensors", "c": "two.safetensors"}})");
  EXPECT_THAT(Error(), HasSubstr("two.safetensors: tensor 'b' is not named for this file"));
  WriteIndex(R"({"weight_map": {"a": "one.safetensors", "c": "one.safetensors"}})");
  EXPECT_THAT(Error(), HasSubstr("one.safetensors: lacks tensor 'c'"));
  WriteIndex(R"({"weight_map": {"a": "two.safetensors", "b": "one.safetensors"}})");
  EXPECT_THAT(Error(), HasSubstr("is not named for this file"));
  WriteIndex(R"({"weight_map": {"a": "one.safetensors", "b": "again.safetensors"}})");
  EXPECT_THAT(Error(), HasSubstr("tensor 'a' is"));
  WriteIndex(R"({"weight_map": {"a": "three.safetensors"}})");
  EXPECT_THAT(Error(), HasSubstr("three.safetensors: cannot open"));
}

TEST_F(SafetensorsDirectory, RefusesBadIndexes) {
  WriteTensor("one.safetensors", "a");
  const std::pair<std::string, const char*> cases[] = {
      {"", "broken JSON"},
      {"[]", "the index is an array"},
      {"3", "the index is a number"},
      {"{}", "has no weight_map"},
      {R"({"weight_map": 3})", "weight_map is a number"},
      {R"({"weight_map": ["a"]})", "weight_map holds an array"},
      {R"({"weight_map": {"a": 3}})", "weight_map holds a number"},
      {R"({"weight_map": {"a": {"b": "c"}}})", "weight_map holds an object"},
      {R"({"weight_map": {"a": "one.safetensors", "a": "one.safetensors"}})", "appears twice"},
      {R"({"weight_map": {"a": "one.safetensors"}, "weight_map": {}})", "weight_map appears twice"},
      {R"({"weight_map": {"a": "../one.safetensors"}})", "is not a plain file name"},
      {R"({"weight_map": {"a": "/etc/passwd"}})", "is not a plain file name"},
      {R"({"weight_map": {"a": "sub/one.safetensors"}})", "is not a plain file name"},
      {R"({"weight_map": {"a": "..\\one.safetensors"}})", "is not a plain file name"},
      {R"({"weight_map": {"a": "one.safetensors\u0000x"}})", "is not a plain file name"},
      {R"({"weight_map": {"a": "one.safetensors\nx"}})", "is not a plain file name"},
      {R"({"weight_map": {"a": ".."}})", "is not a plain file name"},
      {R"({"weight_map": {"a": ""}})", "is not a plain file name"},
      {R"({"metadata": )" + Repeat("[", 100000), "nested deeper than"},
      {R"({"metadata": )" + Repeat(R"({"weight_map": )", 100000), "nested deeper than"},
  };
  for (const auto& [text, expected] : cases) {
    SCOPED_TRACE(text.substr(0, 80));
    WriteIndex(text);
    EXPECT_THAT(Error(), HasSubstr(expected));
  }
}

}  // namespace
}  // namespace shardline
