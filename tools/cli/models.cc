// shardline models: what a server serves, as a table or as JSON.
#include <ostream>

#include "shardline/v1/control.grpc.pb.h"
#include "shared/base/quoted.h"
#include "tools/cli/client.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/table.h"

namespace shardline::cli {
namespace {

Row ToRow(const v1::Model& model) {
  std::string capabilities;
  for (const std::string& capability : model.capabilities()) {
    capabilities += Cat(capabilities.empty() ? "" : ",", capability);
  }
  auto known = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  return {model.name(),
          known(model.family()),
          known(model.dtype()),
          known(model.quantisation()),
          Cat(model.context_tokens()),
          Cat(model.vocabulary_size()),
          model.ready() ? "yes" : "no",
          known(capabilities)};
}

}  // namespace

int Models(const Arguments& arguments, Streams& streams) {
  std::string target;
  bool json = false;
  Options options("models", "models [--json]", "Lists the models that a server serves.");
  AddTarget(options, target);
  options.Switch("json", "the server's whole answer as JSON", [&](bool value) { json = value; });
  std::optional<int> end;
  const Arguments rest = options.Parse(arguments, streams, end);
  if (end) return *end;
  if (!rest.empty()) {
    return Fail(streams, "models", Cat("unexpected argument ", Quoted(rest[0])));
  }

  grpc::ClientContext context;
  SetUnaryDeadline(context);
  v1::ListModelsResponse response;
  const grpc::Status status =
      v1::Control::NewStub(Connect(target))->ListModels(&context, {}, &response);
  if (!status.ok()) return Report("models", target, status, streams);
  if (json) {
    const absl::StatusOr<std::string> text = ToJson(response, /*all=*/true);
    if (!text.ok()) return Fail(streams, "models", Message(text.status()), kFailed);
    streams.out << *text << "\n";
    return kDone;
  }
  std::vector<Row> rows = {
      {"NAME", "FAMILY", "DTYPE", "WEIGHTS", "CONTEXT", "VOCABULARY", "READY", "CAPABILITIES"}};
  for (const v1::Model& model : response.models()) rows.push_back(ToRow(model));
  WriteTable(std::move(rows), streams.out);
  return kDone;
}

}  // namespace shardline::cli
