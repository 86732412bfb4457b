// A folder of the process's own, for fuzzers of code that opens files.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "shared/base/strings.h"

namespace shardline::fuzz {

class Folder {
 public:
  explicit Folder(std::string_view name)
      : path_(Cat(std::filesystem::temp_directory_path().string(), "/", name, ".", getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string Write(std::string_view name, std::string_view data) const {
    const std::string file = Cat(path_, "/", name);
    std::ofstream(file, std::ios::binary)
        .write(data.data(), static_cast<std::streamsize>(data.size()));
    return file;
  }

 private:
  std::string path_;
};

}  // namespace shardline::fuzz
