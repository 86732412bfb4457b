// shardline generate: one request, its answer streamed to standard output, a closing line on
// standard error. Ctrl-C ends the request, not only this program.
#include <unistd.h>

#include <iostream>

#include "shardline/v1/inference.grpc.pb.h"
#include "tools/cli/answer.h"
#include "tools/cli/client.h"
#include "tools/cli/commands.h"
#include "tools/cli/generate_request.h"
#include "tools/cli/interrupt.h"

namespace shardline::cli {
namespace {

int Fail(Streams& streams, const std::string& text, int code) {
  return cli::Fail(streams, "generate", text, code);
}

}  // namespace

int Generate(const Arguments& arguments, Streams& streams) {
  GenerateFlags flags;
  const Options options = GenerateOptions(flags);
  std::optional<int> end;
  const Arguments words = options.Parse(arguments, streams, end);
  if (end) return *end;
  if (words.empty() && &streams.in == &std::cin && isatty(STDIN_FILENO) != 0) {
    streams.err << "reading the prompt from standard input (Ctrl-D ends it)\n";
  }
  const absl::StatusOr<v1::GenerateRequest> request = MakeGenerateRequest(flags, words, streams.in);
  if (!request.ok()) return Fail(streams, Message(request.status()), kBadInput);

  grpc::ClientContext context;
  Interrupt interrupt([&context] { context.TryCancel(); });
  Answer answer({.json = flags.json, .several = request->n() > 1}, streams.out,
                Answer::Clock::now());
  const auto stub = v1::Inference::NewStub(Connect(flags.target));
  const auto stream = stub->Generate(&context, *request);
  v1::GenerateEvent event;
  while (stream->Read(&event)) {
    answer.Take(event, Answer::Clock::now());
    if (!streams.out.good()) context.TryCancel();  // nobody reads on
  }
  const grpc::Status status = stream->Finish();
  if (!flags.json) answer.Close();
  if (interrupt.happened()) {
    return Fail(streams, Cat("interrupted; ", answer.Summary()), kInterrupted);
  }
  if (!streams.out.good()) return Fail(streams, "standard output cannot be written", kFailed);
  if (!status.ok()) return Report("generate", flags.target, status, streams);
  if (!answer.error().empty()) return Fail(streams, answer.error(), kFailed);
  if (!answer.complete()) return Fail(streams, "the server ended the stream too early", kFailed);
  streams.err << answer.Summary() << "\n";
  return kDone;
}

}  // namespace shardline::cli
