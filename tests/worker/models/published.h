// The tensor lists of published checkpoints under tests/published (tools/make_published.py).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/worker/models/hollow.h"

namespace shardline {

inline std::string PublishedFolder() { return SHARDLINE_SOURCE_DIR "/tests/published"; }

// The folders that have `file`.
inline std::vector<std::string> PublishedNames(const std::string& file) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(PublishedFolder())) {
    if (std::filesystem::exists(entry.path() / file)) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct PublishedList {
  int64_t parameters = 0, kv_bytes_per_token = 0;
  std::string metadata;  // of GGUF, as files hold it
  uint64_t keys = 0;     // in it
  std::vector<HollowTensor> tensors;
  std::vector<size_t> lines;     // the first tensor of each of the file's lines, but of those
  std::set<std::string> unread;  // that no text model reads
};

// "a.{0-1}.b" stands for a.0.b and a.1.b.
inline void ExpandName(const std::string& name, std::vector<std::string>& out) {
  const size_t open = name.find('{'), close = name.find('}');
  if (open == std::string::npos) return out.push_back(name);
  const std::string range = name.substr(open + 1, close - open - 1);
  const size_t dash = range.find('-');
  for (int64_t i = std::stoll(range); i <= std::stoll(range.substr(dash + 1)); ++i) {
    ExpandName(Cat(name.substr(0, open), i, name.substr(close + 1)), out);
  }
}

// A line "KEY TYPE VALUE".
inline void AddMetadata(PublishedList& list, const std::string& key, const std::string& type,
                        const std::string& value) {
  ++list.keys;
  PutString(list.metadata, key);
  PutBytes<uint32_t>(list.metadata, type == "u32" ? 4 : type == "f32" ? 6 : type == "bool" ? 7 : 8);
  if (type == "u32") PutBytes<uint32_t>(list.metadata, std::stoul(value));
  if (type == "f32") PutBytes<float>(list.metadata, std::stof(value));
  if (type == "bool") PutBytes<uint8_t>(list.metadata, value == "true");
  if (type == "string") PutString(list.metadata, value);
}

// Reads tensors.txt or gguf.txt.
inline PublishedList ReadPublished(const std::string& name, const std::string& file) {
  PublishedList list;
  std::ifstream in(PublishedFolder() + "/" + name + "/" + file);
  for (std::string line; std::getline(in, line);) {
    const bool unread = line.starts_with("unread ");
    std::istringstream words(line);
    std::string key, type, value, dtype = "BF16";
    if (unread) words >> key;
    words >> key;
    if (key == "f8" || key == "f32") {
      dtype = key == "f8" ? "F8_E4M3" : "F32";
      words >> key;
    }
    if (key == "parameters") {
      words >> list.parameters;
    } else if (key == "kv_bytes_per_token") {
      words >> list.kv_bytes_per_token;
    } else if (line.back() != ']') {
      words >> type >> value;
      AddMetadata(list, key, type, value);
    } else {
      std::vector<int64_t> shape;
      std::istringstream sizes(line.substr(line.find('[') + 1));
      for (int64_t size; sizes >> size; sizes.ignore(1)) shape.push_back(size);
      std::vector<std::string> names;
      ExpandName(key, names);
      if (!unread) list.lines.push_back(list.tensors.size());
      for (const std::string& expanded : names) {
        list.tensors.push_back({expanded, shape, dtype});
        if (unread) list.unread.insert(expanded);
      }
    }
  }
  EXPECT_FALSE(list.tensors.empty()) << name;
  return list;
}

}  // namespace shardline
