// Names and block layouts of ggml's tensor types.
// Source: ggml's ggml.h (ids) and ggml-common.h (block structs).
#include "shared/format/gguf.h"

namespace shardline {
namespace {

struct TypeRow {
  GgmlType type;
  const char* name;
  GgmlBlock block;
};

constexpr TypeRow kTypes[] = {
    {GgmlType::kF32, "F32", {1, 4}},       {GgmlType::kF16, "F16", {1, 2}},
    {GgmlType::kQ4_0, "Q4_0", {32, 18}},   {GgmlType::kQ4_1, "Q4_1", {32, 20}},
    {GgmlType::kQ5_0, "Q5_0", {32, 22}},   {GgmlType::kQ5_1, "Q5_1", {32, 24}},
    {GgmlType::kQ8_0, "Q8_0", {32, 34}},   {GgmlType::kQ8_1, "Q8_1", {32, 36}},
    {GgmlType::kQ2_K, "Q2_K", {256, 84}},  {GgmlType::kQ3_K, "Q3_K", {256, 110}},
    {GgmlType::kQ4_K, "Q4_K", {256, 144}}, {GgmlType::kQ5_K, "Q5_K", {256, 176}},
    {GgmlType::kQ6_K, "Q6_K", {256, 210}}, {GgmlType::kQ8_K, "Q8_K", {256, 292}},
    {GgmlType::kBF16, "BF16", {1, 2}},
};

// Of files that are met often and not read: their errors say what was met.
struct OtherType {
  uint32_t id;
  const char* name;
};
constexpr OtherType kOthers[] = {{16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
                                 {20, "IQ4_NL"},  {21, "IQ3_S"},  {22, "IQ2_S"},   {23, "IQ4_XS"},
                                 {29, "IQ1_M"},   {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},
                                 {40, "NVFP4"}};

const TypeRow* Row(GgmlType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

}  // namespace

std::string GgmlTypeName(GgmlType type) {
  if (const TypeRow* row = Row(type)) return row->name;
  for (const OtherType& other : kOthers) {
    if (other.id == static_cast<uint32_t>(type)) return other.name;
  }
  return Cat("type ", static_cast<uint32_t>(type));
}

std::optional<GgmlBlock> GgmlBlockOf(GgmlType type) {
  if (const TypeRow* row = Row(type)) return row->block;
  return std::nullopt;
}

}  // namespace shardline
