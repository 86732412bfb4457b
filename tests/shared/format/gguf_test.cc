#include "shared/format/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/shared/format/gguf_bytes.h"

namespace shardline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kHuge = uint64_t{1} << 63;

// One of every value type, two tensors of 64 and 128 bytes.
GgufBytes Valid(uint32_t version = 3) {
  GgufBytes b;
  b.Header(2, 16, version);
  b.Text("general.architecture", "llama");
  b.Value<uint8_t>("u8", kGgufU8, 200).Value<int8_t>("i8", kGgufI8, -100);
  b.Value<uint16_t>("u16", kGgufU16, 60000).Value<int16_t>("i16", kGgufI16, -30000);
  b.Value<uint32_t>("u32", kGgufU32, 4000000000).Value<int32_t>("i32", kGgufI32, -2000000000);
  b.Value<float>("f32", kGgufF32, 1e-5f).Value<uint8_t>("bool", kGgufBool, 1);
  b.Value<uint64_t>("u64", kGgufU64, kHuge).Value<int64_t>("i64", kGgufI64, -5);
  b.Value<double>("f64", kGgufF64, 0.1);
  b.ArrayOf("strings", kGgufString, 3).String("a").String("").String("c\nd");
  b.ArrayOf("ints", kGgufI32, 2).Put<int32_t>(-1).Put<int32_t>(7);
  b.ArrayOf("nested", kGgufArray, 2);
  b.Put<uint32_t>(kGgufU8).Put<uint64_t>(3).Raw("abc");
  b.Put<uint32_t>(kGgufString).Put<uint64_t>(1).String("x");
  b.ArrayOf("bools", kGgufBool, 2).Put<uint8_t>(1).Put<uint8_t>(0);
  b.Tensor("a.weight", {8, 2}, 0, 0);       // F32 [2, 8]
  b.Tensor("b.weight", {32, 2, 3}, 3, 64);  // Q4_1 [3, 2, 32]: 6 blocks of 20 bytes
  return b.Align().Zeros(64 + 120);
}

TEST(Gguf, ReadsEveryKindOfValue) {
  for (const uint32_t version : {2u, 3u}) {
    const GgufBytes bytes = Valid(version);
    const auto file = GgufFile::Parse(bytes.span(), "x.gguf");
    ASSERT_TRUE(file.ok()) << Message(file.status());
    const GgufFile& f = **file;
    EXPECT_EQ(f.path(), "x.gguf");
    EXPECT_EQ(f.metadata().size(), 16u);
    EXPECT_EQ(f.metadata()[0].first, "general.architecture");
    EXPECT_EQ(f.String("general.architecture"), "llama");
    EXPECT_EQ(f.Int("u8"), 200);
    EXPECT_EQ(f.Int("i8"), -100);
    EXPECT_EQ(f.Int("u16"), 60000);
    EXPECT_EQ(f.Int("i16"), -30000);
    EXPECT_EQ(f.Int("u32"), 4000000000);
    EXPECT_EQ(f.Int("i32"), -2000000000);
    EXPECT_EQ(f.Int("i64"), -5);
    EXPECT_EQ(f.Int("u64"), std::nullopt) << "2^63 is no int64";
    EXPECT_EQ(f.Float("u64"), 9223372036854775808.0);
    EXPECT_EQ(f.Float("f32"), static_cast<double>(1e-5f));
    EXPECT_EQ(f.Float("f64"), 0.1);
    EXPECT_EQ(f.Float("i64"), -5.0);
    EXPECT_EQ(f.Bool("bool"), true);
    EXPECT_EQ(f.Int("f64"), std::nullopt);
    EXPECT_EQ(f.Int("bool"), std::nullopt);
    EXPECT_EQ(f.String("u8"), std::nullopt);
    EXPECT_EQ(f.Bool("absent"), std::nullopt);
    EXPECT_EQ(f.Find("absent"), nullptr);
    EXPECT_THAT(f.Array("strings")->strings, ElementsAre("a", "", "c\nd"));
    EXPECT_EQ(f.Array("strings")->kind, GgufArray::Kind::kString);
    EXPECT_THAT(f.Array("ints")->ints, ElementsAre(-1, 7));
    EXPECT_THAT(f.Array("bools")->uints, ElementsAre(1, 0));
    EXPECT_EQ(f.Array("bools")->kind, GgufArray::Kind::kBool);
    EXPECT_EQ(f.Array("nested")->kind, GgufArray::Kind::kArray);
    EXPECT_EQ(f.Array("nested")->size, 2u);
    EXPECT_EQ(f.Array("u8"), nullptr);
  }
}

TEST(Gguf, PlacesTensors) {
  GgufBytes bytes = Valid();
  bytes.bytes()[bytes.bytes().size() - 120] = std::byte{42};  // the first of b.weight
  const auto file = GgufFile::Parse(bytes.span(), "x.gguf");
  ASSERT_TRUE(file.ok()) << Message(file.status());
  ASSERT_EQ((*file)->tensors().size(), 2u);
  const GgufTensor* a = (*file)->FindTensor("a.weight");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->type, GgmlType::kF32);
  EXPECT_THAT(a->shape, ElementsAre(2, 8));
  EXPECT_EQ(a->data.size(), 64u);
  const GgufTensor* b = (*file)->FindTensor("b.weight");
  ASSERT_NE(b, nullptr);
  EXPECT_THAT(b->shape, ElementsAre(3, 2, 32));
  EXPECT_EQ(b->data.size(), 120u);
  EXPECT_EQ(b->data.front(), std::byte{42});
  EXPECT_EQ((*file)->FindTensor("c.weight"), nullptr);
}

TEST(Gguf, ReadsAVocabularyWithoutTensors) {
  GgufBytes b;
  b.Header(0, 1).Text("k", "v");  // and not padded to the alignment
  const auto file = GgufFile::Parse(b.span(), "x.gguf");
  ASSERT_TRUE(file.ok()) << Message(file.status());
  EXPECT_TRUE((*file)->tensors().empty());
}

TEST(Gguf, FollowsTheFilesOwnAlignment) {
  GgufBytes b;
  b.Header(1, 1).Value<uint32_t>("general.alignment", kGgufU32, 4096).Tensor("t", {4}, 0, 0);
  b.Align(4096).Zeros(16);
  const auto file = GgufFile::Parse(b.span(), "x.gguf");
  ASSERT_TRUE(file.ok()) << Message(file.status());
  EXPECT_EQ((*file)->tensors()[0].data.data(), b.span().data() + 4096);
}

// Files with one lie each.
struct Lie {
  const char* name;
  GgufBytes bytes;
  const char* expected;  // part of the error
};

GgufBytes WithTensor(std::vector<uint64_t> dims, uint32_t type, uint64_t offset, size_t data = 64) {
  GgufBytes b;
  return b.Header(1, 0).Tensor("t", std::move(dims), type, offset).Align().Zeros(data);
}
GgufBytes WithAlignment(uint32_t alignment) {
  GgufBytes b;
  b.Header(1, 1).Value<uint32_t>("general.alignment", kGgufU32, alignment);
  return b.Tensor("t", {4}, 0, 0).Align().Zeros(64);
}
GgufBytes New(uint64_t tensors, uint64_t metadata, uint32_t version = 3) {
  GgufBytes b;
  return b.Header(tensors, metadata, version);
}
GgufBytes Nested(int depth) {
  GgufBytes b = New(0, 1);
  b.ArrayOf("deep", kGgufArray, 1);
  for (int i = 0; i < depth; ++i) b.Put<uint32_t>(kGgufArray).Put<uint64_t>(1);
  return b.Put<uint32_t>(kGgufU8).Put<uint64_t>(0);
}

std::vector<Lie> Lies() {
  std::vector<Lie> lies;
  auto add = [&](const char* name, GgufBytes bytes, const char* expected) {
    lies.push_back({name, std::move(bytes), expected});
  };
  add("empty", GgufBytes(), "truncated: magic");
  add("no magic", GgufBytes().Raw("GGML").Zeros(60), "not a GGUF file");
  add("magic alone", GgufBytes().Raw("GGUF"), "truncated: version");
  add("version 0", New(0, 0, 0), "version 0 is not known");
  add("version 1", New(0, 0, 1), "version 1 is not read");
  add("version 4", New(0, 0, 4), "version 4 is not known");
  add("big endian", New(0, 0, 0x03000000), "big-endian");
  add("no counts", GgufBytes().Raw("GGUF").Put<uint32_t>(3), "truncated: tensor count");
  add("huge tensor count", New(kHuge, 0).Zeros(200), "do not fit");
  add("huge metadata count", New(0, kHuge).Zeros(200), "do not fit");
  add("largest metadata count", New(0, ~uint64_t{0}).Zeros(200), "do not fit");
  add("count beyond the file", New(0, 2).Text("k", "a longer value"), "truncated: metadata key");
  add("key length 2^63", New(0, 1).Put(kHuge).Zeros(32), "longer than 65535");
  add("key past the end", New(0, 1).Put<uint64_t>(1000).Zeros(32), "truncated: metadata key");
  add("empty key", New(0, 1).Text("", "value"), "entry 0 has an empty key");
  add("value type", New(0, 1).Value<uint64_t>("k", 13, 0), "'k': unknown value type 13");
  add("value type 2^32-1", New(0, 1).Value<uint64_t>("k", 0xffffffff, 0), "unknown value type");
  add("no value", New(0, 1).String("key").Put<uint32_t>(kGgufU64).Put<uint32_t>(0), "'key': trunc");
  add("boolean 2", New(0, 1).Value<uint8_t>("k", kGgufBool, 2), "'k': a boolean is 2");
  add("string length 2^63", New(0, 1).Value("k", kGgufString, kHuge).Zeros(9), "'k': truncated");
  add("string length 2^64-1", New(0, 1).Value("k", kGgufString, ~uint64_t{0}), "'k': truncated");
  add("key twice", New(0, 2).Text("k", "1").Text("k", "2"), "'k' appears twice");
  add("array length 2^63", New(0, 1).ArrayOf("k", kGgufU8, kHuge), "'k': array of");
  add("array size overflow", New(0, 1).ArrayOf("k", kGgufU64, uint64_t{1} << 61).Zeros(64),
      "array");
  add("array past the end", New(0, 1).ArrayOf("k", kGgufU32, 3).Zeros(11), "array of 3");
  add("array element type", New(0, 1).ArrayOf("k", 99, 1).Zeros(8), "unknown value type 99");
  add("array of booleans", New(0, 1).ArrayOf("k", kGgufBool, 2).Raw("\x01\x07"), "a boolean is 7");
  add("string array count", New(0, 1).ArrayOf("k", kGgufString, 9).Zeros(71), "array of 9");
  add("string in array", New(0, 1).ArrayOf("k", kGgufString, 1).Put(kHuge), "'k': truncated");
  add("nested too deep", Nested(20), "nested deeper than");
  add("nested past the end", New(0, 1).ArrayOf("k", kGgufArray, 1).Put<uint32_t>(4).Put(kHuge),
      "array of");
  add("alignment 0", WithAlignment(0), "general.alignment must be a power of two");
  add("alignment 1", WithAlignment(1), "general.alignment");
  add("alignment 24", WithAlignment(24), "it is 24");
  add("alignment 2^31", WithAlignment(uint32_t{1} << 31), "general.alignment");
  add("alignment a string",
      New(1, 1).Text("general.alignment", "32").Tensor("t", {4}, 0, 0).Align().Zeros(64),
      "general.alignment");
  add("tensor count", New(2, 0).Tensor("t", {4}, 0, 0).Align().Zeros(64), "tensor");
  add("tensor name", New(1, 0).Put(kHuge).Zeros(64), "tensor name of");
  add("tensor without name", New(1, 0).Tensor("", {4}, 0, 0).Align().Zeros(64), "empty name");
  add("tensor twice", New(2, 0).Tensor("t", {4}, 0, 0).Tensor("t", {4}, 0, 32).Align().Zeros(64),
      "'t' appears twice");
  add("no dimensions", WithTensor({}, 0, 0), "'t': has 0 dimensions");
  add("five dimensions", WithTensor({1, 1, 1, 1, 1}, 0, 0), "'t': has 5 dimensions");
  add("2^32-1 dimensions", New(1, 0).String("t").Put(~uint32_t{0}).Zeros(64), "has 4294967295 dim");
  add("dimension 0", WithTensor({0}, 0, 0), "dimension 0");
  add("dimension 2^63", WithTensor({kHuge}, 0, 0), "too large");
  add("shape overflow", WithTensor({uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0), "too large");
  add("wrapping shape", WithTensor({uint64_t{1} << 32, uint64_t{1} << 31, 2}, 0, 0), "too large");
  add("byte overflow", WithTensor({uint64_t{1} << 62}, 0, 0), "overflows");
  add("unknown tensor type", WithTensor({4}, 99, 0), "tensor 't': type 99 is not served");
  add("tensor type of other builds", WithTensor({256}, 23, 0), "tensor 't': IQ4_XS is not served");
  add("retired tensor type", WithTensor({32}, 4, 0), "tensor 't': type 4 is not served");
  add("half a block", WithTensor({48}, 2, 0), "not a multiple of Q4_0's block of 32");
  add("offset 2^63", WithTensor({4}, 0, kHuge), "reach past the end");
  add("offset 2^64-32", WithTensor({4}, 0, ~uint64_t{31}), "reach past the end");
  add("offset off alignment", WithTensor({4}, 0, 8), "not a multiple of the alignment 32");
  add("data past the end", WithTensor({17}, 0, 0), "its 68 bytes at offset 0 reach past the end");
  add("truncated before data", New(1, 0).Tensor("t", {4}, 0, 0), "ends before its tensor data");
  add("overlap", New(2, 0).Tensor("t", {16}, 0, 0).Tensor("u", {4}, 0, 32).Align().Zeros(64),
      "tensors 't' and 'u' overlap");
  add("same place", New(2, 0).Tensor("t", {4}, 0, 0).Tensor("u", {4}, 0, 0).Align().Zeros(64),
      "overlap");
  add("inside another",
      New(3, 0)
          .Tensor("t", {64}, 0, 0)
          .Tensor("u", {4}, 0, 32)
          .Tensor("v", {4}, 0, 512)
          .Align()
          .Zeros(600),
      "overlap");
  add("unprintable name", New(1, 0).Tensor("a\nb", {4}, 99, 0).Align().Zeros(64), "'a\\x0ab'");
  return lies;
}

TEST(Gguf, RefusesEveryLieInOneLine) {
  for (const Lie& lie : Lies()) {
    SCOPED_TRACE(lie.name);
    const auto file = GgufFile::Parse(lie.bytes.span(), "x.gguf");
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(file.status()), StartsWith("x.gguf: "));
    EXPECT_THAT(Message(file.status()), HasSubstr(lie.expected));
    EXPECT_THAT(Message(file.status()), Not(HasSubstr("\n")));
  }
}

TEST(Gguf, RefusesEveryTruncationOfAValidFile) {
  const GgufBytes bytes = Valid();
  for (size_t size = 0; size < bytes.span().size(); ++size) {
    // A copy of exactly this size: a read past it is seen by AddressSanitizer.
    const std::vector<std::byte> part(bytes.span().begin(), bytes.span().begin() + size);
    EXPECT_FALSE(GgufFile::Parse(part, "x.gguf").ok()) << size;
  }
}

TEST(Gguf, SurvivesEveryByteOfTheHeaderChanged) {
  const GgufBytes bytes = Valid();
  for (size_t i = 0; i < bytes.span().size() - 184; ++i) {
    for (const unsigned char value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::vector<std::byte> changed(bytes.span().begin(), bytes.span().end());
      changed[i] = std::byte{value};
      const auto file = GgufFile::Parse(changed, "x.gguf");
      if (!file.ok()) {
        EXPECT_THAT(Message(file.status()), Not(HasSubstr("\n")));
      }
    }
  }
}

TEST(Gguf, KnowsBlockLayouts) {
  EXPECT_EQ(GgmlTypeName(GgmlType::kQ4_1), "Q4_1");
  EXPECT_EQ(GgmlTypeName(static_cast<GgmlType>(99)), "type 99");
  EXPECT_EQ(GgmlBlockOf(GgmlType::kQ8_0)->bytes, 34);
  EXPECT_EQ(GgmlBlockOf(GgmlType::kQ6_K)->elements, 256);
  EXPECT_EQ(GgmlBlockOf(static_cast<GgmlType>(99)), std::nullopt);
}

TEST(Gguf, OpenNamesTheFile) {
  const auto file = GgufFile::Open("/nonexistent/x.gguf");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(file.status()), StartsWith("/nonexistent/x.gguf: "));
}

}  // namespace
}  // namespace shardline
