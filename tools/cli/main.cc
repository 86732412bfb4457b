// shardline: the command-line client. `shardline COMMAND --help` tells each command's flags.
#include <exception>
#include <iostream>
#include <string>

#include "tools/cli/commands.h"

namespace shardline::cli {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Arguments&, Streams&);
};

constexpr Command kCommands[] = {
    {"bench", "measure a server under load", RunBench},
    {"chat", "talk with a model", Chat},
    {"generate", "ask a server and stream the answer", Generate},
    {"inspect", "show what a model's files hold (needs no server)", Inspect},
    {"load", "show what waits and runs on a server", Load},
    {"models", "list the models that a server serves", Models},
    {"plan", "show what a model takes and what fits beside it (needs no server)", Plan},
    {"render", "render a chat template (needs no server)", Render},
    {"tokenize", "turn text into token ids (with --tokenizer, needs no server)", Tokenize},
};

void WriteUsage(std::ostream& out) {
  out << "usage: shardline COMMAND [arguments]\n";
  for (const Command& command : kCommands) {
    std::string name = command.name;
    name.resize(10, ' ');
    out << "  " << name << command.summary << "\n";
  }
  out << "shardline COMMAND --help tells a command's flags.\n";
}

int Run(const Arguments& arguments) {
  std::ios::sync_with_stdio(false);
  Streams streams{std::cin, std::cout, std::cerr};
  if (arguments.empty()) {
    WriteUsage(std::cerr);
    return kBadInput;
  }
  const std::string& name = arguments[0];
  if (name == "--help" || name == "-h" || name == "help") {
    WriteUsage(std::cout);
    return kDone;
  }
  if (name == "--version") {
    std::cout << "shardline " << SHARDLINE_VERSION << "\n";
    return kDone;
  }
  for (const Command& command : kCommands) {
    if (name == command.name) {
      const int code = command.run({arguments.begin() + 1, arguments.end()}, streams);
      std::cout.flush();
      if (code != kDone || std::cout.good()) return code;
      std::cerr << "shardline " << name << ": standard output cannot be written\n";
      return kFailed;
    }
  }
  std::cerr << "shardline: unknown command '" << name << "' (see shardline --help)\n";
  return kBadInput;
}

}  // namespace
}  // namespace shardline::cli

int main(int argc, char** argv) {
  try {
    return shardline::cli::Run({argv + 1, argv + argc});
  } catch (const std::exception& error) {  // out of memory
    std::cerr << "shardline: " << error.what() << "\n";
    return shardline::cli::kFailed;
  }
}
