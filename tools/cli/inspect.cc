// shardline inspect: what a model's files hold, as tables or as JSON, or what the worker makes of
// them. Needs no server.
#include <chrono>
#include <map>
#include <ostream>

#include "shared/base/process.h"
#include "shared/base/quoted.h"
#include "tools/cli/commands.h"
#include "tools/cli/model_file.h"
#include "tools/cli/options.h"
#include "tools/cli/table.h"
#include "tools/cli/visible.h"

namespace shardline::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownCharacters = 60;
constexpr size_t kShownValues = 4;

std::string Cut(const std::string& text) {
  if (Width(text) <= kShownCharacters) return text;
  size_t end = kShownCharacters;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

std::string Brief(const Json& value) {
  if (value.is_string()) return Cut(Escaped(value.get_ref<const std::string&>()));
  if (value.is_number_float()) return Cat(value.get<double>());
  if (!value.is_array()) return Cut(value.dump(-1, ' ', false, Json::error_handler_t::replace));
  std::string shown = "[";
  for (size_t i = 0; i < value.size() && i < kShownValues; ++i) {
    shown += Cat(i > 0 ? ", " : "", Brief(value[i]));
  }
  return value.size() > kShownValues ? Cat(shown, ", …] ", value.size(), " values") : shown + "]";
}

std::string Shape(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t dim : shape) text += Cat(text.size() > 1 ? ", " : "", dim);
  return text + "]";
}

struct Total {
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

void WriteTables(const ModelFile& model, std::ostream& out) {
  std::vector<Row> metadata = {{"KEY", "VALUE"}};
  for (const auto& [key, value] : model.metadata.items()) {
    const std::string name = Escaped(key);
    metadata.push_back({name.substr(1, name.size() - 2), Brief(value)});
  }
  std::vector<Row> tensors = {{"TENSOR", "TYPE", "SHAPE", ">BYTES"}};
  std::map<std::string, Total> types;
  Total all;
  for (const ModelTensor& tensor : model.tensors) {
    const std::string name = Escaped(tensor.name);
    tensors.push_back(
        {name.substr(1, name.size() - 2), tensor.type, Shape(tensor.shape), Cat(tensor.bytes)});
    for (Total* total : {&types[tensor.type], &all}) {
      total->tensors += 1;
      total->elements += tensor.elements;
      total->bytes += tensor.bytes;
    }
  }
  std::vector<Row> sums = {{"TYPE", ">TENSORS", ">PARAMETERS", ">BYTES"}};
  for (const auto& [type, total] : types) {
    sums.push_back({type, Cat(total.tensors), Cat(total.elements), Cat(total.bytes)});
  }
  sums.push_back({"all", Cat(all.tensors), Cat(all.elements), Cat(all.bytes)});
  out << model.format << "\n\n";
  WriteTable(std::move(metadata), out);
  out << "\n";
  WriteTable(std::move(tensors), out);
  out << "\n";
  WriteTable(std::move(sums), out);
}

void WriteJson(ModelFile model, std::ostream& out) {
  Json json;
  json["format"] = model.format;
  json["metadata"] = std::move(model.metadata);
  json["tensors"] = Json::array();
  uint64_t elements = 0, bytes = 0;
  for (const ModelTensor& tensor : model.tensors) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"type", tensor.type},
                               {"shape", tensor.shape},
                               {"parameters", tensor.elements},
                               {"bytes", tensor.bytes}});
    elements += tensor.elements;
    bytes += tensor.bytes;
  }
  json["parameters"] = elements;
  json["bytes"] = bytes;
  out << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

constexpr std::chrono::seconds kWorkerLimit{60};

// The worker knows the models; it writes to our own standard output and error.
int RunWorker(const Arguments& arguments, Streams& streams) {
  streams.out.flush();
  absl::StatusOr<Process> worker =
      Process::Spawn({.program = ProgramBesideThisOne("shardline-worker"),
                      .arguments = arguments,
                      .stdout_to_stderr = false,
                      .own_process_group = false});
  if (!worker.ok()) return Fail(streams, "inspect", Message(worker.status()), kFailed);
  const std::optional<ExitStatus> status = worker->Wait(kWorkerLimit);
  if (!status) {
    return Fail(streams, "inspect", Cat("no answer in ", kWorkerLimit.count(), " s"), kFailed);
  }
  if (!status->signalled) return status->code;
  return Fail(streams, "inspect", Cat("the worker ended: ", Describe(*status)), kFailed);
}

}  // namespace

int Inspect(const Arguments& arguments, Streams& streams) {
  bool json = false, spec = false, families = false;
  Options options("inspect", "inspect [--json|--spec] PATH, or inspect --families",
                  "Shows what a .gguf file, a .safetensors file or a directory of them holds:\n"
                  "metadata (config.json of a directory), and the tensors, outermost dimension "
                  "first.");
  options.Switch("json", "one line of JSON, with whole arrays", [&](bool value) { json = value; });
  options.Switch("spec", "the model's blocks, weights, axes and state groups instead",
                 [&](bool value) { spec = value; });
  options.Switch("families", "the table of model families that are served, without a PATH",
                 [&](bool value) { families = value; });
  std::optional<int> end;
  const Arguments paths = options.Parse(arguments, streams, end);
  if (end) return *end;
  if (families && paths.empty() && !json && !spec) {
    return RunWorker({"--print-families"}, streams);
  }
  if (families) return Fail(streams, "inspect", "--families stands alone");
  if (paths.size() != 1) {
    return Fail(streams, "inspect",
                paths.empty() ? "a file or directory must be named"
                              : Cat("unexpected argument ", Quoted(paths[1])));
  }
  if (json && spec) return Fail(streams, "inspect", "--json and --spec exclude each other");
  if (spec) return RunWorker({"--print-spec", Cat("--model=", paths[0])}, streams);
  absl::StatusOr<ModelFile> model = ReadModelFile(paths[0]);
  if (!model.ok()) return Fail(streams, "inspect", Message(model.status()));
  if (json) {
    WriteJson(*std::move(model), streams.out);
  } else {
    WriteTables(*model, streams.out);
  }
  return kDone;
}

}  // namespace shardline::cli
