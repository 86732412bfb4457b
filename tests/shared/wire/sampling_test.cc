#include "shared/wire/sampling.h"

#include <gtest/gtest.h>

namespace shardline {
namespace {

TEST(Sampling, TheContractsDefaults) {
  const FlatSampling flat = ToFlat({}, {});
  EXPECT_FLOAT_EQ(flat.temperature, 1.0f);
  EXPECT_FLOAT_EQ(flat.top_p, 1.0f);
  EXPECT_FLOAT_EQ(flat.min_p, 0.0f);
  EXPECT_FLOAT_EQ(flat.typical_p, 1.0f);
  EXPECT_FLOAT_EQ(flat.repetition_penalty, 1.0f);
  EXPECT_FLOAT_EQ(flat.frequency_penalty, 0.0f);
  EXPECT_FLOAT_EQ(flat.presence_penalty, 0.0f);
  EXPECT_EQ(flat.top_k, 0u);
  EXPECT_EQ(flat.repeat_last_n, 64);
}

TEST(Sampling, TheModelsDefaultsStandWhereTheRequestIsSilent) {
  const SamplingDefaults defaults{.temperature = 0.6f,
                                  .top_p = 0.9f,
                                  .min_p = 0.05f,
                                  .typical_p = 0.7f,
                                  .repetition_penalty = 1.1f,
                                  .top_k = 20};
  FlatSampling flat = ToFlat({}, defaults);
  EXPECT_FLOAT_EQ(flat.temperature, 0.6f);
  EXPECT_FLOAT_EQ(flat.top_p, 0.9f);
  EXPECT_FLOAT_EQ(flat.min_p, 0.05f);
  EXPECT_FLOAT_EQ(flat.typical_p, 0.7f);
  EXPECT_FLOAT_EQ(flat.repetition_penalty, 1.1f);
  EXPECT_EQ(flat.top_k, 20u);
  EXPECT_EQ(flat.repeat_last_n, -1);  // the penalty is the model's alone

  v1::SamplingParams params;
  params.set_temperature(0);
  params.set_top_k(0);
  params.set_top_p(1);
  flat = ToFlat(params, defaults);
  EXPECT_FLOAT_EQ(flat.temperature, 0.0f);
  EXPECT_FLOAT_EQ(flat.top_p, 1.0f);
  EXPECT_EQ(flat.top_k, 0u);
}

TEST(Sampling, ThePenaltysWindow) {
  const SamplingDefaults defaults{.repetition_penalty = 1.1f};
  v1::SamplingParams params;
  params.set_repetition_penalty(1.3f);  // the request's own: the contract's window
  EXPECT_EQ(ToFlat(params, defaults).repeat_last_n, 64);
  EXPECT_FLOAT_EQ(ToFlat(params, defaults).repetition_penalty, 1.3f);
  params.set_repeat_last_n(0);
  EXPECT_EQ(ToFlat(params, defaults).repeat_last_n, 0);
  params.clear_repetition_penalty();
  EXPECT_EQ(ToFlat(params, defaults).repeat_last_n, 0);
}

}  // namespace
}  // namespace shardline
