// `shardline` as a process of its own, on a pseudo-terminal or on pipes; every wait has a limit.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "tools/cli/commands.h"

namespace shardline::cli {

class Child {
 public:
  enum class On { kTerminal, kPipes };
  // `arguments` follow the program's name; `environment` is "NAME=VALUE" each.
  Child(On on, const Arguments& arguments, const Arguments& environment = {});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void Type(std::string_view text);
  void Signal(int signal);
  // True once `text` has shown behind what was waited for before.
  bool Shows(std::string_view text);
  // What has shown behind what was waited for.
  std::string_view Rest() const { return std::string_view(output_).substr(seen_); }
  const std::string& output() const { return output_; }
  // Ends its input (pipes) and waits for its end; its exit code, or -signal. Reads what it still
  // says.
  int End();

 private:
  // False at the end of the output, or when nothing has come for too long.
  bool ReadSome();

  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  std::string output_;
  size_t seen_ = 0;
};

}  // namespace shardline::cli
