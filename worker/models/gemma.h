// What the Gemma generations share beside the dense decoders' parts.
#pragma once

#include "worker/models/dense.h"

namespace shardline {

// Norms with weights of `form` that round once, scaled embeddings, the tanh form of GELU. On a spec
// that has the sizes, before Spread.
void MakeGemma(ModelSpec& spec, VectorForm form);

// Notes what none of them serves: bidirectional attention.
void RefuseForeignGemmaKeys(HfConfig& config);

// Scores are divided by the root of `query_pre_attn_scalar`; in a GGUF file, which does not tell,
// of the head size, but in a model of `largest` layers of hidden / heads.
double GemmaScale(HfConfig& config);
double GemmaScale(const ModelSpec& spec, size_t largest);

// A soft cap: null means none, and is not the class's default.
double GemmaCap(HfConfig& config, std::string_view key, double fallback);

// Which layers slide, from `attention.sliding_window_pattern`: a list, or a number with `fallback`
// where there is none: all but every so many do.
std::vector<bool> GemmaSlidingLayers(GgufConfig& config, size_t layers, int64_t fallback);

}  // namespace shardline
