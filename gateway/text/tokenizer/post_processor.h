// tokenizer.json "post_processor": BOS, EOS and the like around a text's ids.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shared/base/status.h"

namespace shardline {

class PostProcessor {
 public:
  // One element of a template: the text's ids so far, or tokens of its own.
  struct Element {
    bool text = false;
    std::vector<uint32_t> ids;
  };
  // Templates are applied in order, each around the result of the one before.
  void AddTemplate(std::vector<Element> elements);
  void AddAround(std::vector<uint32_t> before, std::vector<uint32_t> after);

  // Without `add_special_tokens` only the text's own ids stay. The tokens in front of the text
  // (BOS) are left out where it already starts with them.
  std::vector<uint32_t> Apply(std::vector<uint32_t> ids, bool add_special_tokens) const;

  // The token put in front of every text; -1 where there is none.
  int64_t first_token() const;
  // How many ids a text of one id becomes, for checking: templates may hold the text twice.
  double ids_of_one() const;
  // The largest id that a template adds, for checking; -1 where there is none.
  int64_t max_id() const;

 private:
  std::vector<std::vector<Element>> templates_;
};

// Errors: InvalidArgument naming the path and the type that is not understood.
absl::Status ParsePostProcessor(const nlohmann::json& json, const std::string& path,
                                PostProcessor& result);

}  // namespace shardline
