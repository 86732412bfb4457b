// Loading into a plan: joined rows, reordered heads, vectors, and what does not fit.
#include "worker/weights/loader.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/worker/weights/write_checkpoint.h"

namespace shardline {
namespace {

const NameTable& Names() {
  static const NameTable kTable{
      .rules = {{"*.q", "blk.*.q", RowOrder::kInterleavedHeads, "blk.*.qk"},
                {"*.k", "blk.*.k", RowOrder::kAsStored, "blk.*.qk"},
                {"norm", "norm"}},
      .ignored = {"extra"}};
  return kTable;
}

TEST(LoadWeights, JoinsSlotsAndPutsInterleavedHeadsBack) {
  const auto checkpoint = WriteCheckpoint(
      {Counting("blk.0.q.weight", {8, 4}), Counting("blk.0.k.weight", {3, 4}, 100),
       Counting("blk.0.q.bias", {8}), Counting("norm.weight", {5}, 0.5), Counting("extra", {1})});
  WeightPlan plan;
  Packed joined;
  View bias, norm;
  plan.Matrix(&joined, {Slot("0.q.weight", {8, 4}, 4), Slot("0.k.weight", {3, 4}, 4)});
  plan.Vector(&bias, {Slot("0.q.bias", {8}, 4)});
  plan.Vector(&norm, {Slot("norm.weight", {5})});
  std::vector<double> fractions;
  const auto memory =
      LoadWeights(*checkpoint, Names(), plan,
                  {.ops = &CpuOps(), .progress = [&](double f) { fractions.push_back(f); }});
  ASSERT_TRUE(memory.ok()) << memory.status();
  ASSERT_EQ(joined.rows, 11);
  // Heads of 4 rows, stored as 0, 2, 1, 3 of their halves.
  const float first_of_row[] = {0, 8, 4, 12, 16, 24, 20, 28, 100, 104, 108};
  for (uint32_t row = 0; row < 11; ++row) {
    const float x = first_of_row[row];
    EXPECT_EQ(PackedRow(joined, row), (std::vector<float>{x, x + 1, x + 2, x + 3})) << row;
  }
  const float biases[] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(bias.as<float>()[i], biases[i]);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(norm.as<float>()[i], 0.5f + i);
  ASSERT_FALSE(fractions.empty());
  EXPECT_EQ(fractions.back(), 1.0);
}

TEST(LoadWeights, TakesSlotsOutOfAJoinedTensor) {
  const auto checkpoint =
      WriteCheckpoint({Counting("blk.0.qk.weight", {11, 4}), Counting("blk.0.qk.bias", {11}),
                       Counting("blk.1.qk.weight", {11, 4}), Counting("blk.1.q.bias", {8}, 50),
                       Counting("blk.1.k.bias", {3}, 60)});
  WeightPlan plan;
  Packed matrices[2];
  View biases[2];
  for (int i = 0; i < 2; ++i) {
    plan.Matrix(&matrices[i],
                {Slot(Cat(i, ".q.weight"), {8, 4}, 4), Slot(Cat(i, ".k.weight"), {3, 4}, 4)});
    plan.Vector(&biases[i], {Slot(Cat(i, ".q.bias"), {8}, 4), Slot(Cat(i, ".k.bias"), {3}, 4)});
  }
  const auto memory = LoadWeights(*checkpoint, Names(), plan, {.ops = &CpuOps()});
  ASSERT_TRUE(memory.ok()) << memory.status();
  // Heads of 4 rows of the first slot are put back, the second slot's rows are as stored.
  const float rows[] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 9, 10};
  for (uint32_t row = 0; row < 11; ++row) {
    const float x = 4 * rows[row];
    for (const Packed& matrix : matrices) {
      EXPECT_EQ(PackedRow(matrix, row), (std::vector<float>{x, x + 1, x + 2, x + 3})) << row;
    }
    EXPECT_EQ(biases[0].as<float>()[row], rows[row]);
    EXPECT_EQ(biases[1].as<float>()[row], row < 8 ? 50 + rows[row] : 60 + rows[row] - 8);
  }
}

// Two matrices for each of three heads: in a tensor of both by head, of which the first is stored
// transposed, or in two tensors of all heads.
TEST(LoadWeights, TakesMatricesOfHeadsOutOfTensorsOfAll) {
  const NameTable names{
      .rules = {{.slot = "*.a",
                 .tensor = "blk.*.a",
                 .joined = "blk.*.ab",
                 .fusion = Fusion::kByExpertTransposed},
                {.slot = "*.b", .tensor = "", .joined = "blk.*.ab", .fusion = Fusion::kByExpert}}};
  const auto load = [&](const std::vector<TestTensor>& tensors, bool both,
                        std::vector<Packed>& matrices) {
    const auto checkpoint = WriteCheckpoint(tensors);
    WeightPlan plan;
    for (int64_t h = 0; h < 3; ++h) {
      WeightSlot a = Slot("0.a.weight", {4, 2}), b = Slot("0.b.weight", {3, 4});
      a.expert = {.index = h, .count = 3, .rows = 5};
      b.expert = {.index = h, .count = 3, .rows = 5, .first = 2};
      plan.Matrix(&matrices[h], {a});
      if (both) plan.Matrix(&matrices[3 + h], {b});
    }
    return LoadWeights(*checkpoint, names, plan, {.ops = &CpuOps()});
  };
  std::vector<Packed> joined(6), apart(6), none(6);
  const auto memory = load({Counting("blk.0.ab.weight", {15, 4})}, true, joined);
  ASSERT_TRUE(memory.ok()) << memory.status();
  const auto other = load({Counting("blk.0.a.weight", {3, 4, 2})}, false, apart);
  ASSERT_TRUE(other.ok()) << other.status();
  for (int64_t h = 0; h < 3; ++h) {
    for (uint32_t row = 0; row < 4; ++row) {  // its columns are rows 5h and 5h + 1
      const auto x = static_cast<float>(20 * h + row), y = static_cast<float>(8 * h + 2 * row);
      EXPECT_EQ(PackedRow(joined[h], row), (std::vector<float>{x, x + 4}));
      EXPECT_EQ(PackedRow(apart[h], row), (std::vector<float>{y, y + 1}));
    }
    for (uint32_t row = 0; row < 3; ++row) {
      const auto x = static_cast<float>(20 * h + 8 + 4 * row);
      EXPECT_EQ(PackedRow(joined[3 + h], row), (std::vector<float>{x, x + 1, x + 2, x + 3}));
    }
  }
  const auto error = [&](const TestTensor& tensor) {
    return Message(load({tensor}, true, none).status());
  };
  EXPECT_NE(error(Counting("blk.0.ab.weight", {14, 4}))
                .find("wrong shapes: blk.0.ab.weight is [14, 4], not [15, 4]"),
            std::string::npos);
  EXPECT_NE(error(Counting("extra", {1})).find("missing tensors: blk.0.a.weight, blk.0.ab.weight;"),
            std::string::npos);
}

TEST(LoadWeights, AJoinedTensorMustHoldItsSlots) {
  const auto checkpoint = WriteCheckpoint({Counting("blk.0.qk.weight", {12, 4})});
  WeightPlan plan;
  Packed matrix;
  plan.Matrix(&matrix, {Slot("0.q.weight", {8, 4}, 4), Slot("0.k.weight", {3, 4}, 4)});
  const auto memory = LoadWeights(*checkpoint, Names(), plan, {.ops = &CpuOps()});
  EXPECT_EQ(Message(memory.status()),
            checkpoint->path() + ": wrong shapes: blk.0.qk.weight is [12, 4], not [11, 4]");
}

TEST(LoadWeights, SlotsOfOneProductMayBeRowsOfOneTensor) {
  const NameTable names{.rules = {{"*.q", "blk.*.qkv", RowOrder::kInterleavedHeads},
                                  {"*.k", "blk.*.qkv", RowOrder::kInterleavedHeads},
                                  {"*.v", "blk.*.qkv"}}};
  WeightPlan plan;
  Packed joined;
  View bias;
  plan.Matrix(&joined, {Slot("0.q.weight", {8, 4}, 4), Slot("0.k.weight", {4, 4}, 4),
                        Slot("0.v.weight", {2, 4})});
  plan.Vector(&bias, {Slot("0.q.bias", {8}, 4), Slot("0.k.bias", {4}, 4), Slot("0.v.bias", {2})});
  const auto checkpoint =
      WriteCheckpoint({Counting("blk.0.qkv.weight", {14, 4}), Counting("blk.0.qkv.bias", {14})});
  const auto memory = LoadWeights(*checkpoint, names, plan, {.ops = &CpuOps()});
  ASSERT_TRUE(memory.ok()) << memory.status();
  const float rows[] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 13};
  for (uint32_t row = 0; row < 14; ++row) {
    const float x = 4 * rows[row];
    EXPECT_EQ(PackedRow(joined, row), (std::vector<float>{x, x + 1, x + 2, x + 3})) << row;
    EXPECT_EQ(bias.as<float>()[row], rows[row]);
  }
  const auto narrow = WriteCheckpoint({Counting("blk.0.qkv.weight", {12, 4})});
  const std::string error = Message(LoadWeights(*narrow, names, plan, {.ops = &CpuOps()}).status());
  EXPECT_EQ(error.substr(error.find(": ") + 2),
            "missing tensors: blk.0.qkv.bias; wrong shapes: blk.0.qkv.weight is [12, 4], not "
            "[14, 4]");
}

NameTable FusedNames(Fusion fusion, RowOrder order) {
  NameTable names;
  for (const char* slot : {"*.q", "*.k", "*.v"})
    names.rules.push_back({.slot = slot, .tensor = "qkv.*", .order = order, .fusion = fusion});
  return names;
}

// Two query heads for each of two key-value heads, of two rows each.
TEST(LoadWeights, TakesPartsOutOfOneTensor) {
  const auto checkpoint =
      WriteCheckpoint({Counting("qkv.0.weight", {16, 2}), Counting("qkv.0.bias", {16})});
  const auto load = [&](Fusion fusion, RowOrder order) {
    WeightPlan plan;
    Packed joined;
    View bias;
    plan.Matrix(&joined, {Slot("0.q.weight", {8, 2}, 2), Slot("0.k.weight", {4, 2}, 2),
                          Slot("0.v.weight", {4, 2}, 2)});
    plan.Vector(&bias,
                {Slot("0.q.bias", {8}, 2), Slot("0.k.bias", {4}, 2), Slot("0.v.bias", {4}, 2)});
    const auto memory =
        LoadWeights(*checkpoint, FusedNames(fusion, order), plan, {.ops = &CpuOps()});
    EXPECT_TRUE(memory.ok()) << memory.status();
    std::vector<float> rows(bias.as<float>(), bias.as<float>() + 16);
    for (uint32_t row = 0; row < 16; ++row) EXPECT_EQ(PackedRow(joined, row)[0], 2 * rows[row]);
    return rows;
  };
  using Rows = std::vector<float>;
  EXPECT_EQ(load(Fusion::kStacked, RowOrder::kAsStored),
            (Rows{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(load(Fusion::kByGroup, RowOrder::kAsStored),
            (Rows{0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15}));
}

TEST(LoadWeights, PutsInterleavedHeadsOfOneTensorBack) {
  const auto checkpoint = WriteCheckpoint({Counting("qkv.0.bias", {12})});
  WeightPlan plan;
  View bias;
  plan.Vector(&bias,
              {Slot("0.q.bias", {4}, 4), Slot("0.k.bias", {4}, 4), Slot("0.v.bias", {4}, 4)});
  const auto memory =
      LoadWeights(*checkpoint, FusedNames(Fusion::kStacked, RowOrder::kInterleavedHeads), plan,
                  {.ops = &CpuOps()});
  ASSERT_TRUE(memory.ok()) << memory.status();
  const float rows[] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11};
  for (int i = 0; i < 12; ++i) EXPECT_EQ(bias.as<float>()[i], rows[i]);
}

TEST(LoadWeights, TakesVectorsOfHeadsOutOfOneMatrix) {
  const auto load = [](const std::vector<TestTensor>& tensors) {
    const auto checkpoint = WriteCheckpoint(tensors);
    const NameTable names{
        .rules = {{.slot = "*.norm.*", .tensor = "norm.*", .fusion = Fusion::kStacked}}};
    WeightPlan plan;
    View norms;
    plan.Vector(&norms, {Slot("0.norm.0.weight", {2}), Slot("0.norm.1.weight", {2})});
    const auto memory = LoadWeights(*checkpoint, names, plan, {.ops = &CpuOps()});
    if (!memory.ok()) return Message(memory.status());
    return std::string(norms.as<float>()[3] == 3 ? "loaded" : "wrong");
  };
  EXPECT_EQ(load({Counting("norm.0.weight", {2, 2})}), "loaded");
  EXPECT_EQ(load({Counting("norm.0.weight", {4})}), "loaded");
  const std::string error = load({Counting("norm.0.weight", {1, 4})});
  EXPECT_NE(error.find("wrong shapes: norm.0.weight is [1, 4], not [4]"), std::string::npos)
      << error;
}

TEST(LoadWeights, TakesAVectorOutOfAMatrixOfOneRow) {
  const auto checkpoint = WriteCheckpoint({Counting("norm.0.weight", {1, 2})});
  const NameTable names{
      .rules = {{.slot = "*.norm.*", .tensor = "norm.*", .fusion = Fusion::kStacked}}};
  WeightPlan plan;
  View norm;
  plan.Vector(&norm, {Slot("0.norm.0.weight", {2})});
  const auto memory = LoadWeights(*checkpoint, names, plan, {.ops = &CpuOps()});
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(norm.as<float>()[1], 1);
}

TEST(LoadWeights, FusedTensorsMissingOrOfAnotherSizeAreNamedOnce) {
  const auto checkpoint = WriteCheckpoint({Counting("qkv.0.bias", {11})});
  WeightPlan plan;
  Packed joined;
  plan.Matrix(&joined, {Slot("0.q.weight", {4, 2}, 4), Slot("0.k.weight", {4, 2}, 4),
                        Slot("0.v.weight", {4, 2}, 4)});
  View bias;
  plan.Vector(&bias,
              {Slot("0.q.bias", {4}, 4), Slot("0.k.bias", {4}, 4), Slot("0.v.bias", {4}, 4)});
  const auto memory = LoadWeights(*checkpoint, FusedNames(Fusion::kByGroup, RowOrder::kAsStored),
                                  plan, {.ops = &CpuOps()});
  const std::string error = Message(memory.status());
  EXPECT_TRUE(
      error.ends_with("missing tensors: qkv.0.weight; wrong shapes: qkv.0.bias is [11], not [12]"))
      << error;
}

TEST(LoadWeights, ExpertsHaveTensorsOfTheirOwnOrSlicesOfOne) {
  const NameTable names{.rules = {{"*.up", "blk.*.up_exps"}, {"*.down", "blk.*.down.#"}}};
  const auto checkpoint = WriteCheckpoint({Counting("blk.0.up_exps.weight", {2, 3, 4}),
                                           Counting("blk.0.down.0.weight", {1, 3}, 50),
                                           Counting("blk.0.down.1.weight", {1, 3}, 60)});
  WeightPlan plan;
  Packed up[2], down[2];
  for (int64_t e = 0; e < 2; ++e) {
    WeightSlot slot = Slot("0.up.weight", {3, 4}), last = Slot("0.down.weight", {1, 3});
    slot.expert = last.expert = {e, 2};
    plan.Matrix(&up[e], {slot});
    plan.Matrix(&down[e], {last});
  }
  const auto memory = LoadWeights(*checkpoint, names, plan, {.ops = &CpuOps()});
  ASSERT_TRUE(memory.ok()) << memory.status();
  for (int e = 0; e < 2; ++e) {
    for (uint32_t row = 0; row < 3; ++row) {
      EXPECT_EQ(PackedRow(up[e], row)[0], static_cast<float>(12 * e + 4 * row));
    }
    EXPECT_EQ(PackedRow(down[e], 0)[0], static_cast<float>(50 + 10 * e));
  }
  const auto flat = WriteCheckpoint({Counting("blk.0.up_exps.weight", {6, 4})});
  const std::string error = Message(LoadWeights(*flat, names, plan, {.ops = &CpuOps()}).status());
  EXPECT_EQ(error.substr(error.find(": ") + 2),
            "missing tensors: blk.0.down.0.weight, blk.0.down.1.weight; wrong shapes: "
            "blk.0.up_exps.weight is [6, 4], not [2, 3, 4]");
}

TEST(LoadWeights, Bf16RoundsMatricesAndVectors) {
  const float x = 1.00390625f * 1.001f;
  const auto checkpoint = WriteCheckpoint({{"blk.0.k.weight", "F32", {1, 2}, Bytes<float>({x, 1})},
                                           {"norm.weight", "F32", {1}, Bytes<float>({x})}});
  WeightPlan plan;
  Packed matrix;
  View norm;
  plan.Matrix(&matrix, {Slot("0.k.weight", {1, 2})});
  plan.Vector(&norm, {Slot("norm.weight", {1})});
  const auto memory =
      LoadWeights(*checkpoint, Names(), plan, {.ops = &CpuOps(), .type = DType::kBF16});
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(matrix.type, DType::kBF16);
  EXPECT_EQ(PackedRow(matrix, 0), (std::vector<float>{WidenBf16(RoundToBf16(x)), 1}));
  EXPECT_EQ(norm.type, DType::kF32);
  EXPECT_EQ(norm.as<float>()[0], WidenBf16(RoundToBf16(x)));
}

TEST(LoadWeights, VectorsTakeTheFormThatTheirSlotSays) {
  const float x = 0.3f;
  const auto checkpoint = WriteCheckpoint({{"norm.weight", "F32", {1}, Bytes<float>({x})}});
  const auto load = [&](DType type, VectorForm form) {
    WeightPlan plan;
    View norm;
    WeightSlot slot = Slot("norm.weight", {1});
    slot.form = form;
    plan.Vector(&norm, {slot});
    const auto memory = LoadWeights(*checkpoint, Names(), plan, {.ops = &CpuOps(), .type = type});
    EXPECT_TRUE(memory.ok()) << memory.status();
    return norm.as<float>()[0];
  };
  const float bf16 = WidenBf16(RoundToBf16(x)), f16 = WidenF16(RoundToF16(x));
  EXPECT_EQ(load(DType::kBF16, VectorForm::kRounded), bf16);
  EXPECT_EQ(load(DType::kF16, VectorForm::kRounded), f16);
  EXPECT_EQ(load(DType::kBF16, VectorForm::kPlusOne), 1.0f + bf16);
  EXPECT_EQ(load(DType::kF32, VectorForm::kPlusOne), 1.0f + x);
  EXPECT_EQ(load(DType::kBF16, VectorForm::kExact), x);
}

TEST(LoadWeights, ListsEverythingThatDoesNotFitInOneLine) {
  const auto checkpoint = WriteCheckpoint({Counting("blk.0.q.weight", {8, 4}),
                                           Counting("blk.1.k.weight", {4, 3}),
                                           {"norm.weight", "I64", {1}, Bytes<int64_t>({1})},
                                           Counting("odd.0.x", {1}),
                                           Counting("odd.1.x", {1}),
                                           Counting("extra", {1})});
  WeightPlan plan;
  Packed a, b;
  View norm, unknown;
  plan.Matrix(&a, {Slot("0.q.weight", {8, 4}, 4), Slot("0.k.weight", {3, 4}, 4)});
  plan.Matrix(&b, {Slot("1.q.weight", {8, 4}, 4), Slot("1.k.weight", {3, 4}, 4)});
  plan.Vector(&norm, {Slot("norm.weight", {1})});
  plan.Vector(&unknown, {Slot("what.weight", {1})});
  const auto memory = LoadWeights(*checkpoint, Names(), plan, {.ops = &CpuOps()});
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Message(memory.status()),
            checkpoint->path() +
                ": missing tensors: blk.0.k.weight, blk.1.q.weight, (no name for what.weight); "
                "unused tensors: odd.{0-1}.x; wrong shapes: blk.1.k.weight is [4, 3], not [3, 4]; "
                "types that are not read (F32, F16, BF16, scaled F8_E4M3, Q4_0 to Q8_0 and Q2_K to "
                "Q6_K are): norm.weight is I64");
}

// Larger than what is widened at once; a slice ends within a part, and begins in the next one.
TEST(LoadWeights, LargeMatricesAreWidenedSomeRowsAtATime) {
  const auto checkpoint = WriteCheckpoint(
      {Counting("blk.0.q.weight", {1600, 256}), Counting("blk.0.k.weight", {1000, 256}, 0.5)});
  for (const DType type : {DType::kF32, DType::kBF16}) {
    WeightPlan plan;
    Packed joined;
    plan.Matrix(&joined, {Slot("0.q.weight", {1600, 256}, 4), Slot("0.k.weight", {1000, 256}, 4)});
    const auto memory = LoadWeights(*checkpoint, Names(), plan, {.ops = &CpuOps(), .type = type});
    ASSERT_TRUE(memory.ok()) << memory.status();
    ASSERT_EQ(joined.rows, 2600);
    ASSERT_EQ(joined.bytes, CpuOps().packed_bytes(type, 2600, 256));
    for (uint32_t row = 0; row < 2600; ++row) {
      const uint32_t within[] = {0, 2, 1, 3};
      const uint32_t stored = row < 1600 ? row / 4 * 4 + within[row % 4] : row - 1600;
      const float first = static_cast<float>(256 * stored) + (row < 1600 ? 0.0f : 0.5f);
      const std::vector<float> values = PackedRow(joined, row);
      for (const int i : {0, 255}) {
        const float x = first + static_cast<float>(i);
        ASSERT_EQ(values[i], type == DType::kF32 ? x : WidenBf16(RoundToBf16(x))) << row;
      }
    }
  }
}

TEST(LoadWeights, LargeMatricesMayBeStoredTransposed) {
  const NameTable names{.rules = {{.slot = "*.a",
                                   .tensor = "",
                                   .joined = "blk.*.ab",
                                   .fusion = Fusion::kByExpertTransposed}}};
  const auto checkpoint = WriteCheckpoint({Counting("blk.0.ab.weight", {256, 1300})});
  WeightPlan plan;
  Packed matrix;
  WeightSlot slot = Slot("0.a.weight", {1300, 256});
  slot.expert = {.index = 0, .count = 1, .rows = 256};
  plan.Matrix(&matrix, {slot});
  const auto memory = LoadWeights(*checkpoint, names, plan, {.ops = &CpuOps()});
  ASSERT_TRUE(memory.ok()) << memory.status();
  for (uint32_t row = 0; row < 1300; ++row) {
    const std::vector<float> values = PackedRow(matrix, row);
    for (int i = 0; i < 256; ++i) ASSERT_EQ(values[i], static_cast<float>(1300 * i + row));
  }
}

TEST(LoadWeights, ThreadsGiveTheSameBytes) {
  std::vector<TestTensor> tensors;
  for (int i = 0; i < 9; ++i) {
    tensors.push_back(Counting(Cat("blk.", i, ".k.weight"), {20 + i, 6}, static_cast<float>(i)));
  }
  const auto checkpoint = WriteCheckpoint(tensors);
  std::vector<std::vector<std::byte>> loaded;
  for (int count : {1, 3}) {
    ThreadPool threads(count);
    WeightPlan plan;
    std::vector<Packed> packed(9);
    for (int i = 0; i < 9; ++i) plan.Matrix(&packed[i], {Slot(Cat(i, ".k.weight"), {20 + i, 6})});
    const auto memory =
        LoadWeights(*checkpoint, Names(), plan, {.ops = &CpuOps(), .threads = &threads});
    ASSERT_TRUE(memory.ok()) << memory.status();
    loaded.emplace_back(memory->data(), memory->data() + memory->bytes());
  }
  EXPECT_EQ(loaded[0], loaded[1]);
}

}  // namespace
}  // namespace shardline
